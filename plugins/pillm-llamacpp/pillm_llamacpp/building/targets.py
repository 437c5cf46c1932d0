"""What the programs can be built for, and with which switches of llama.cpp's build."""

from __future__ import annotations

from dataclasses import dataclass, field

import pillm
from pillm_llamacpp import source

PROGRAMS = ("llama-completion", "llama-bench", "llama-server", "llama-embedding")
"""What is built unless told otherwise: to answer, to time, to serve, to embed."""
KNOWN = (
    *PROGRAMS, "llama-cli", "llama-quantize", "llama-imatrix", "llama-perplexity", "llama-tokenize", "llama-gguf-split",
    "llama-batched-bench", "llama-fit-params",
)  # fmt: skip
EXAMPLES = frozenset({"llama-embedding"})
"""Programs that llama.cpp counts among its examples."""

PLAIN = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_COMMIT": source.COMMIT,
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # it would be downloaded while compiling
}
"""The switches that every build has, also the one that rpi4/setup_pi.sh makes on the board."""
_STATIC = {
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",  # ggml's own threads; the static libgomp of a cross compiler is one thing less to trust
    "GGML_STATIC": "ON",
    "CMAKE_EXE_LINKER_FLAGS": "-static",
}
_NO_TILES = dict.fromkeys(("CMAKE_C_FLAGS_INIT", "CMAKE_CXX_FLAGS_INIT"), "-U__AMX_INT8__")
"""ggml's kernels for matrix tiles fault where GCC up to 12.3 or 13.2 compiled them; runner `local` leaves them alone too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of machine that programs are built for."""

    name: str
    title: str
    switches: dict[str, str] = field(default_factory=dict)
    machine: str | None = None
    """What `uname -m` says there; None: this machine."""
    cpu: str | None = None
    """The processor that qemu plays, to try the programs here; None: they run here."""

    def options(self, programs: tuple[str, ...]) -> dict[str, str]:
        """Return the switches of a build of these programs."""
        examples = "ON" if EXAMPLES.intersection(programs) else "OFF"
        return {**PLAIN, "LLAMA_BUILD_EXAMPLES": examples, **self.switches}


def _arm(name: str, title: str, architecture: str, cpu: str) -> Target:
    tuned = dict.fromkeys(("CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS"), f"-mtune={cpu}")
    switches = {**_STATIC, "GGML_CPU_ARM_ARCH": architecture, **tuned}
    return Target(name=name, title=title, switches=switches, machine="aarch64", cpu=cpu)


TARGETS = {
    one.name: one
    for one in (
        Target(name="this", title="this machine", switches={"GGML_NATIVE": "ON", **_NO_TILES}),
        _arm("pi4", "a Raspberry Pi 4", "armv8-a+crc", "cortex-a72"),
        _arm("pi5", "a Raspberry Pi 5", "armv8.2-a+dotprod+fp16", "cortex-a76"),
    )
}


def check_programs(names: tuple[str, ...]) -> None:
    """Raise ConfigError where a name is no program that llama.cpp builds."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown or not names:
        raise pillm.ConfigError(
            f"llama.cpp has no program {', '.join(unknown) or '(none was named)'}. Known: {', '.join(KNOWN)}."
        )
