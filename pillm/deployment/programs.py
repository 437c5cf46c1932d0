"""What a program of llama.cpp calls its options: the names change from version to version, and its own help tells them.

The help of a program is asked for once and kept by the hash of its bytes. Whoever starts a server does it with the same care.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pillm.errors import BackendError, ConfigError, DataError, MissingDependency
from pillm.machines import Machine
from pillm.remote.endings import failure

Spelling: TypeAlias = tuple[str, str | None]
"""A flag and what follows it: `{}` is the value as given, None nothing."""

_VALUED = {
    "model": ("--model",), "host": ("--host",), "alias": ("--alias",), "context": ("--ctx-size",), "threads": ("--threads",),
    "threads_batch": ("--threads-batch",), "batch": ("--batch-size",), "ubatch": ("--ubatch-size",),
    "parallel": ("--parallel",), "cache_ram": ("--cache-ram",), "checkpoints": ("--ctx-checkpoints", "--swa-checkpoints"),
    "cors_origins": ("--cors-origins",), "verbosity": ("--log-verbosity", "--verbosity"), "pooling": ("--pooling",),
    "predict": ("--predict", "--n-predict"), "gpu_layers": ("--gpu-layers", "--n-gpu-layers"),
    "slot_folder": ("--slot-save-path",), "temperature": ("--temp", "--temperature"),
    "template": ("--chat-template-file",),
}  # fmt: skip
_SWITCHES: dict[str, tuple[Spelling, ...]] = {
    "mlock": (("--load-mode", "mlock"), ("--mlock", None)),
    "mmap": (("--load-mode", "mmap"),),
    "no_mmap": (("--load-mode", "none"), ("--no-mmap", None)),
    "no_ui": (("--no-ui", None), ("--no-webui", None)),
    "embedding": (("--embedding", None), ("--embeddings", None)),
    **{
        name: ((f"--{name.replace('_', '-')}", None),)
        for name in ("no_slots", "offline", "no_warmup", "no_repack", "metrics", "jinja")
    },
}
OPTIONS = frozenset({*_VALUED, *_SWITCHES, "flash_attn"})
"""What the options are called here."""
_NEEDED = ("model", "host", "context", "parallel")
_CAREFUL = {
    "checkpoints": 2, "no_ui": True, "no_slots": True, "cors_origins": "localhost", "offline": True, "verbosity": 2,
}  # fmt: skip
"""What every server is told where its version knows it: what others asked is nobody's business, and logs wear a card out."""
_VERSION = re.compile(r"^version: (\S+)", re.MULTILINE)
_PIECE = re.compile(r"(--?[A-Za-z][\w-]*)(?:[ =](.+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIND = """for name in "$1" "$HOME/.local/share/pillm/llama.cpp/bin/$1" "$HOME/.local/bin/$1" "/usr/lib/pillm/llamacpp/$1" \
"$HOME/llama.cpp/build/bin/$1"; do
  found=$(command -v -- "$name") && sha256sum <"$found" && printf '%s\\n' "$found" && exit 0
done
exit 0
"""
_TELL = """"$1" --version 2>&1
echo
"$1" --help 2>&1
echo "status $?"
"""


@dataclass(frozen=True, slots=True)
class LlamaProgram:
    """A program of llama.cpp: where it is, its version (`b4589`, `0.5.0`), and what each of its flags takes ("": nothing)."""

    path: str
    version: str
    flags: Mapping[str, str]

    def words(self, **options: object) -> list[str]:
        """Return options by the names of OPTIONS as this program's words; None and False are left out.

        Raises ConfigError, naming the version, for one that it does not have.
        """
        wanted = {name: value for name, value in options.items() if value is not None and value is not False}
        if wanted.get("mlock") and wanted.get("no_mmap") and self._knows("--load-mode"):
            del wanted["no_mmap"]  # there the one is a kind of the other
        return [word for name, value in wanted.items() for word in self._spelt(name, value)]

    def serving(self, **options: object) -> tuple[list[str], list[str]]:
        """Return a server's command line without the program, small and to itself, and the flags that this version lacks.

        `options` go before what every server is told. Raises ConfigError where the program lacks what serving needs.
        """
        lacking = [name for name in _NEEDED if not self.knows(name)]
        if lacking:
            flags = ", ".join(_spellings(name)[0][0] for name in lacking)
            raise ConfigError(f"{self.path} does not know {flags}: it is no llama-server, or a very old one.")
        wanted = {**options, **{name: value for name, value in _CAREFUL.items() if name not in options}}
        known = {name: value for name, value in wanted.items() if value is None or self.knows(name)}
        return self.words(**known), [_spellings(name)[0][0] for name in wanted if name not in known]

    def knows(self, option: str) -> bool:
        """Say whether this program has an option."""
        return any(self._knows(flag) for flag, _ in _spellings(option))

    def _knows(self, flag: str) -> bool:
        return flag in self.flags

    def _spelt(self, name: str, value: object) -> list[str]:
        flag, form = next((one for one in _spellings(name) if self._knows(one[0])), ("", None))
        if not flag:
            raise self._lacks(name)
        if name == "flash_attn":
            return self._flash(flag, str(value))
        return [flag] if form is None else [flag, form.format(value)]

    def _flash(self, flag: str, value: str) -> list[str]:
        takes = self.flags[flag]
        if value == "auto" and "auto" not in takes:
            return []  # before there was a choice by itself, leaving it out was as near as one came
        if takes:
            return [flag, {"on": "1", "off": "0"}.get(value, value) if "0" in takes else value]
        return [flag] if value == "on" else []

    def _lacks(self, name: str) -> ConfigError:
        spelt = " or ".join(" ".join(part for part in (flag, form) if part and part != "{}") for flag, form in _spellings(name))
        return ConfigError(
            f"{self.path} (llama.cpp {self.version}) has no option for {name!r}: its help names no {spelt}. "
            "Leave the option out, or use another version of llama.cpp."
        )


def _spellings(option: str) -> tuple[Spelling, ...]:
    if option not in OPTIONS:
        raise ConfigError(f"{option!r} is no option of llama.cpp's programs that is known here.")
    if option == "flash_attn":
        return (("--flash-attn", "{}"),)
    return _SWITCHES.get(option) or tuple((flag, "{}") for flag in _VALUED[option])


def read_help(text: str) -> dict[str, str]:
    """Return the flags that a help text names, each with the placeholder of what it takes; removed ones are left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        # names stand apart by more than one blank, as their description does
        head, _, told = re.sub(r",\s+(?=-)", ", ", line).lstrip().partition("  ")
        if not line.startswith(("-", " -", "  -")) or "has been removed" in told:
            continue
        pieces = [match for piece in head.split(", ") if (match := _PIECE.fullmatch(piece.strip()))]
        takes = next((match[2] for match in reversed(pieces) if match[2]), "")
        found.update({match[1]: takes for match in pieces})
    return found


def read_version(text: str) -> str:
    """Return a version in the form in which llama.cpp counts its own: `b4589` or `0.5.0`; "unknown" where none is told."""
    told = _VERSION.search(text)
    return "unknown" if told is None else f"b{told[1]}" if told[1].isdigit() else told[1]


def find_llama_program(machine: Machine, name: str) -> LlamaProgram:
    """Return a program of a machine, by its name or path there, with what it says of itself.

    Raises ConfigError for what is no name of a program, MissingDependency where it is not there, BackendError where it cannot
    run, DataError where its help cannot be read.
    """
    if not name or name.startswith("-") or "\n" in name or "\0" in name:
        raise ConfigError(f"{name!r} is no program. Name one of llama.cpp's, such as llama-server, or its path on the machine.")
    hashed, path, *_ = *machine.run(["sh", "-c", _FIND, name, name], timeout=120).splitlines(), "", ""
    if not hashed:
        raise MissingDependency(
            f"{machine.label} has no {name} that could be found. pillm's page rpi4/README.md says how to build llama.cpp "
            "there; where it is built already, name its path (`pillm deploy`: --server PATH)."
        )
    sha256 = hashed.split()[0]
    if not _SHA256.fullmatch(sha256) or not path:
        raise BackendError(f"{machine.label}: the look for {name} gave {hashed[:80]!r}.")
    kept = _kept(sha256)
    told = known = _read(kept)
    if told is None:
        told, _, code = machine.run(["sh", "-c", _TELL, name, path], timeout=120).rstrip().rpartition("status ")
        if code != "0":
            raise failure(machine.label, name, int(code) if code.isdigit() else 1, told)
    flags = read_help(told)
    if "--help" not in flags and "-h" not in flags:
        raise DataError(f"{machine.label}: {path} --help names no options, so it is no program of llama.cpp.")
    if known is None:
        _keep(kept, told)
    return LlamaProgram(path=path, version=read_version(told), flags=flags)


def _kept(sha256: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "pillm" / "programs" / f"{sha256}.json"


def _read(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text("utf-8"))["told"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _keep(path: Path, told: str) -> None:
    """Keep what a program says; where that fails it is asked again the next time."""
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"told": told}), "utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
