"""Which graphics processor of this machine llama.cpp may use through Vulkan, and whether it computes what the CPU computes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.workers.client import Worker

REMEDY = (
    "CMAKE_ARGS=-DGGML_VULKAN=on pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python "
    "llama-cpp-python==0.3.36"
)
BROADCOM, SOFTWARE = 0x14E4, 4
_V3D = (
    "it has 16 KiB of shared memory, no 16-bit arithmetic and no integer dot product, so that llama.cpp takes seconds for a "
    "token on it; and it reads through the same memory as the processor, which is what limits decoding"
)
_SOFTWARE = "it is a program on the processor, far slower than runner 'local'; force=true takes it, for tests"
TEXT = 'The quick brown fox jumps over the lazy dog. Portez ce vieux whisky au juge blond, à 11 h 45! {"a": [1, 2.5]}'
PLACES = 48
TIE = 0.5
"""How near two logits of the processor may be for the other choice to count as rounding."""
FURTHEST = 0.1
"""How far a logit may be off, as a part of the largest on the processor; quantised weights are multiplied in 8 bit there and in
16 bit here, which costs up to a twentieth."""
KLD = 0.02


@dataclass(frozen=True, slots=True)
class Device:
    """A graphics processor: its number in Vulkan's order, its name, who made it and what kind it is, as Vulkan numbers them."""

    index: int
    name: str
    vendor: int
    kind: int

    def refusal(self, *, force: bool = False) -> str | None:
        """Return why it is not used, or None; `force` takes a renderer in software."""
        if self.vendor == BROADCOM or self.name.startswith("V3D"):
            return _V3D
        return _SOFTWARE if self.kind == SOFTWARE and not force else None


def find_device(wanted: str | None = None, *, force: bool = False) -> Device:
    """Return the device to use: the one `wanted`, by its number or a part of its name, else the first that is fit.

    Raises MissingDependency where llama.cpp was built without Vulkan or there is no device, ConfigError where none is fit.
    """
    with Worker("looking for Vulkan devices") as worker:
        found = worker.ask(op="graphics")
    devices = [Device(index, *told) for index, told in enumerate(found["devices"])]
    if not found["built"] or not devices:
        what = "was built without Vulkan" if not found["built"] else "finds no Vulkan device on this machine"
        raise pillm.MissingDependency(
            f"the installed llama.cpp {what}; the system lists {_names(devices)}. Runner 'local' works without. If this "
            f"machine has a graphics driver with Vulkan, build llama.cpp for it: {REMEDY}"
        )
    return choose(devices, wanted, force=force)


def choose(devices: list[Device], wanted: str | None, *, force: bool) -> Device:
    """Return one of the devices; raise ConfigError, with the reason of each, where none that is `wanted` is fit."""
    asked = [one for one in devices if wanted in (None, str(one.index)) or str(wanted).casefold() in one.name.casefold()]
    if not asked:
        raise pillm.ConfigError(f"there is no Vulkan device {wanted!r} here. There is: {_names(devices)}.")
    fit = next((one for one in asked if one.refusal(force=force) is None), None)
    if fit is None:
        reasons = "; ".join(f"{one.name} is refused: {one.refusal(force=force)}" for one in asked)
        raise pillm.ConfigError(f"no graphics processor here is fit for a model: {reasons}. Use runner 'local'.")
    return fit


def _names(devices: list[Device]) -> str:
    return ", ".join(f"{one.index}: {one.name}" for one in devices) or "no device at all"


def check_against_cpu(path: Path, device: Device, options: dict[str, Any]) -> pillm.Agreement:
    """Return how near a device's logits for a fixed text are to the processor's; raise BackendError where that is not enough.

    `options` are those of a worker's `open`, with `gpu_layers` as they will be used.
    """
    with tempfile.TemporaryDirectory(prefix="pillm-vulkan-") as scratch:
        asked = record(path, options, str(Path(scratch) / "logits"))
        return judge(compare(path, device, options, asked), device.name)


def record(path: Path, options: dict[str, Any], reference: str) -> dict[str, Any]:
    """Write the processor's logits for the fixed text to a file, and return what to ask of another about them."""
    with Worker(f"llama.cpp with {path.name} on the CPU") as worker:
        context = worker.ask(op="open", path=str(path), **{**options, "gpu_layers": 0})["context"]
        ids = worker.ask(op="tokenize", text=TEXT)["ids"][: max(1, min(PLACES, context))]
        width = worker.ask(op="record", reference=reference, ids=ids, places=len(ids))["width"]
    return {"reference": reference, "offset": 0, "ids": ids, "places": len(ids), "width": width, "exact": False}


def compare(path: Path, device: Device, options: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return how a device's logits differ from those that were recorded."""
    with Worker(f"llama.cpp with {path.name} on {device.name}", graphics=str(device.index)) as worker:
        worker.ask(op="open", path=str(path), **options)
        return dict(worker.ask(op="compare", **asked))


def judge(found: dict[str, Any], name: str) -> pillm.Agreement:
    """Return a comparison of logits as a record; raise BackendError where a device computes something else."""
    advice = "Its driver or llama.cpp's kernels for it compute something else. Update the driver, or use runner 'local'."
    if "unfinite" in found:
        raise pillm.BackendError(f"{name} computes NaN or infinite logits at token {found['at']} of a fixed text. {advice}")
    places, others = found["places"], found["others"]
    near = pillm.Agreement(
        places=places, largest=found["largest"], top1=1 - len(others) / places, ties=sum(gap <= TIE for *_, gap in others),
        kld=found["kld"] / places,
    )  # fmt: skip
    bound = FURTHEST * max(1.0, found["peak"])
    if found["largest"] > bound or (near.kld or 0.0) > KLD or len(others) > near.ties:
        raise pillm.BackendError(
            f"{name} and the CPU do not agree on a fixed text: {near}; allowed are {bound:.2g}, a KLD of {KLD:g} and no other "
            f"choice but at ties. {advice}"
        )
    return near
