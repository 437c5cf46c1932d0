"""How much memory a model takes on a device while it answers, by purpose."""

from __future__ import annotations

from pillm.devices.profile import DeviceProfile
from pillm.devices.repacking import repacked_bytes
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import KV_BYTES, KV_PAD
from pillm.plans import size_text as size_text

MIB = 2**20
_ENTRY = 130
"""Bytes of memory of an entry of the vocabulary, measured with 4,096 to 65,536 entries."""
_GRAPH = 5 * MIB // 2
"""What llama.cpp holds for its graph whatever the model, measured with models of 8 to 24 layers."""


def memory_needed(shape: ModelShape, profile: DeviceProfile, context: int) -> dict[str, int]:
    """Return bytes by purpose at a context of so many tokens in one sequence, and what the device has as `available`.

    Weights count whole: llama.cpp maps the file and reads it ahead; those that it lays out anew count twice. The cache is
    cleared when it is made, so it counts whole too, in steps of 256 tokens.
    """
    padded = -(-context // KV_PAD) * KV_PAD
    # three rows of the feed-forward part and six of the hidden state for each token of a batch; one row of logits
    row = 3 * shape.feed_forward + 6 * shape.hidden
    return {
        "weights": shape.file_bytes,
        "repacked": repacked_bytes(shape, profile.repacked),
        "kv_cache": padded * shape.kv_per_token * KV_BYTES,
        "compute": min(profile.ubatch, context) * row * 4 + shape.vocabulary * 4 + _GRAPH,
        "runtime": profile.runtime_mib * MIB + shape.vocabulary * _ENTRY,
        "reserve": profile.reserve_mib * MIB,
        "available": profile.ram_mib * MIB,
    }


def needed(shape: ModelShape, profile: DeviceProfile, context: int) -> int:
    """Return the bytes that a model and the system need together."""
    return sum(size for purpose, size in memory_needed(shape, profile, context).items() if purpose != "available")


def fits(shape: ModelShape, profile: DeviceProfile, context: int) -> bool:
    """Say whether a device holds a model beside its system."""
    return needed(shape, profile, context) <= profile.ram_mib * MIB
