"""How much memory a model takes on a device while it answers, by purpose; and whether there is as much.

llama.cpp maps the file. Where it lays weights out anew, the copy is memory of its own and the pages that it was made from are
not read again: they count while there is room, and the system takes them back where there is none (`reclaimable`). So there
are three cases: everything fits; only what cannot be taken back fits (tight); not even that.
"""

from __future__ import annotations

from collections.abc import Collection

from pillm.devices.profile import DeviceProfile
from pillm.devices.repacking import repacked_by, repacked_bytes
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_BYTES, padded, window_cells
from pillm.plans import size_text as size_text

MIB = 2**20
_ENTRY = 130
"""Bytes of memory of an entry of the vocabulary, measured with 4,096 to 65,536 entries."""
_GRAPH = 5 * MIB // 2
"""What llama.cpp holds for its graph whatever the model, measured with models of 8 to 24 layers."""
_CHECKPOINTS = 2
"""What a server that pillm starts may keep of the windows of earlier prompts, as its command line says."""


def memory_needed(shape: ModelShape, profile: DeviceProfile, context: int) -> dict[str, int]:
    """Return bytes by purpose at a context of so many tokens for each answer at once, and what the device has as `available`.

    Weights count whole: llama.cpp maps the file and reads it ahead; those that it lays out anew count twice. The cache is
    cleared when it is made, so it counts whole too.
    """
    # three rows of the feed-forward part and six of the hidden state for each token of a batch; one row of logits
    row = 3 * shape.feed_forward + 6 * shape.hidden
    return {
        "weights": shape.file_bytes,
        "repacked": reclaimable(shape, profile),
        "kv_cache": cache_bytes(shape, profile, context) * profile.parallel,
        "compute": min(profile.ubatch, context) * row * 4 + shape.vocabulary * 4 + _GRAPH,
        "runtime": profile.runtime_mib * MIB + shape.vocabulary * _ENTRY,
        "reserve": profile.reserve_mib * MIB,
        "available": profile.ram_mib * MIB,
    }


def cache_bytes(shape: ModelShape, profile: DeviceProfile, context: int) -> int:
    """Return the bytes of one sequence's keys and values, in steps of 256 tokens; layers with a window keep no more."""
    near = shape.kv_windowed * window_cells(shape.window, profile, context)
    return ((shape.kv_per_token - shape.kv_windowed) * padded(context) + near) * KV_BYTES


def reclaimable(shape: ModelShape, profile: DeviceProfile) -> int:
    """Return the bytes of the mapped file that the system may take back: of the weights that are held in another order too."""
    return repacked_bytes(shape, profile.repacked)


def needed(shape: ModelShape, profile: DeviceProfile, context: int) -> int:
    """Return the bytes that a model and the system take together where there is room."""
    return sum(size for purpose, size in memory_needed(shape, profile, context).items() if purpose != "available")


def roomy(shape: ModelShape, profile: DeviceProfile, context: int) -> bool:
    """Say whether a device holds a model beside its system, and nothing has to be taken back."""
    return needed(shape, profile, context) <= profile.ram_mib * MIB


def fits(shape: ModelShape, profile: DeviceProfile, context: int) -> bool:
    """Say whether a device holds what cannot be taken back of a model, beside its system."""
    return needed(shape, profile, context) - reclaimable(shape, profile) <= profile.ram_mib * MIB


def serving_memory(
    shape: ModelShape, context: int, *, parallel: int = 1, ubatch: int = 128, flags: Collection[str] = ()
) -> dict[str, int]:
    """Return the bytes that a llama-server which pillm starts keeps: weights as they lie in the file, kv_cache, buffers.

    `context` are the tokens of one answer with its prompt, `parallel` the answers written at once, `flags` what the processor
    can do. A copy of weights counts as a buffer, and the pages that it was made from not at all: the system may take them back.
    """
    board = DeviceProfile(name="board", title="", ram_mib=0, reserve_mib=0, ubatch=ubatch, repacked=repacked_by(flags))
    told = memory_needed(shape, board, context * parallel)
    windows = shape.kv_windowed * window_cells(shape.window, board, context) * KV_BYTES
    return {
        "weights": told["weights"] - told["repacked"],
        "kv_cache": cache_bytes(shape, board, context) * parallel,
        "buffers": told["compute"] + told["runtime"] + told["repacked"] + _CHECKPOINTS * windows * parallel,
    }
