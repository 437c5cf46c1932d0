"""Say before a run whether a model fits a device and how fast it would be there: arithmetic over shapes.

Decode streams every weight once a token (fit on published llama-bench rows; see the profiles for figures and sources):
1/tg = (streamed bytes + 256 * KV bytes per token) / bandwidth + layers * overhead. Prefill counts cycles per weight and
core, by storage type. Nothing is run and nothing is measured; what nobody measured is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pillm.artifacts import Plan
from pillm.devices import DeviceProfile, device, device_names
from pillm.devices.quants import BY_REQUEST, QUANTS, bits
from pillm.devices.shapes import ModelShape, shape_of
from pillm.errors import ConfigError

KV_PAD = 256
PP = 512
KV_BYTES = 2
_MIB = 2**20
_COMPUTE_SHARE = 0.05
_FASTER = 1.15
_LEAST_TRUST = 1


def plan(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    context: int | None = None,
    quant: str | None = None,
    types: Mapping[str, str] | None = None,
) -> Plan:
    """Return whether a model fits a device, how fast it would be, and what would do instead.

    `model` is a ModelFile, a Checkpoint, the path of a .gguf file, a model folder or a config.json, or what a config.json
    would hold. `quant` asks what
    another quantisation would be; a checkpoint is planned in the device's first choice. `types` asks, on top of that, for
    a storage type of some tensors, by their names in GGUF. `context` counts tokens.
    Raises DataError for a model that cannot be read, ConfigError for an unknown device, quantisation, tensor or type.
    """
    profile = device if isinstance(device, DeviceProfile) else _device(device)
    shape = shape_of(model)
    if quant is not None or _is_unquantised_config(model):
        shape = shape.quantised(quant or suited(shape, profile)[0])
    if types:
        shape = shape.with_types(types)
    if context is not None and context < 1:
        raise ConfigError(f"a context of {context} tokens is not possible. Give 1 or more.")
    return plan_shape(shape, profile, context)


def plan_shape(shape: ModelShape, profile: DeviceProfile, context: int | None = None) -> Plan:
    """Return the plan of a shape as it is stored; `context` defaults to the profile's, at most what the model knows."""
    tokens = context or min(profile.context, shape.context or profile.context)
    memory = memory_needed(shape, profile, tokens)
    needed = sum(size for purpose, size in memory.items() if purpose != "available")
    fits = needed <= memory["available"]
    speed = decode_speed(shape, profile)
    return Plan(
        model=shape.name,
        device=profile.name,
        quant=shape.quant,
        fits=fits,
        bytes=shape.file_bytes,
        memory=memory,
        tg_tps=_rounded(speed),
        pp_tps=_rounded(prefill_speed(shape, profile)),
        context=tokens,
        verdict=_verdict(shape, profile, tokens, (needed, speed)),
        alternatives=tuple(_faster(shape, profile, tokens) if fits else _smaller(shape, profile, tokens)),
        basis_note=_extrapolated(shape, profile),
        source=_source(shape, profile),
    )


def memory_needed(shape: ModelShape, profile: DeviceProfile, context: int) -> dict[str, int]:
    """Return bytes by purpose at a context of so many tokens, and what the device has as `available`."""
    padded = -(-context // KV_PAD) * KV_PAD
    batch = min(profile.ubatch, context)
    # logits of a whole batch, three rows of the feed-forward part, six of the hidden state, and the attention's scores
    row = shape.vocabulary + 3 * shape.feed_forward + 6 * shape.hidden + shape.heads * padded
    return {
        "weights": shape.file_bytes,
        "kv_cache": padded * shape.kv_per_token * KV_BYTES,
        "compute": batch * row * 4,
        "runtime": profile.runtime_mib * _MIB,
        "reserve": profile.reserve_mib * _MIB,
        "available": profile.ram_mib * _MIB,
    }


def decode_speed(shape: ModelShape, profile: DeviceProfile) -> float | None:
    """Return tokens per second of tg128 from an empty context, or None where the device is not calibrated."""
    if profile.bandwidth_gbps is None:
        return None
    sizes = [(one.type, one.bytes * shape.used(one), one.weights * shape.used(one)) for one in shape.streamed]
    streamed = sum(size for _, size, _ in sizes)
    slow = sum(size for type_, size, _ in sizes if type_ in profile.compute_bound)
    cached = KV_PAD * shape.kv_per_token * KV_BYTES
    if slow <= _COMPUTE_SHARE * streamed or profile.smooth_bandwidth_gbps is None:
        return decode_rate(streamed + cached, shape.layers, profile)
    # a type that the cores unpack more slowly than memory delivers it: a smooth maximum of the two times
    cost = sum(weights * profile.cycles.get(type_, 0.0) for type_, _, weights in sizes)
    if not profile.cores or not profile.ghz:
        return None
    from_memory = (streamed + cached) / (profile.smooth_bandwidth_gbps * 1e9)
    from_cores = cost / (profile.cores * profile.ghz * 1e9)
    return 1 / (math.hypot(from_memory, from_cores) + profile.smooth_layer_ms / 1e3 * shape.layers)


def decode_rate(streamed: float, layers: int, profile: DeviceProfile) -> float | None:
    """Return tokens per second for so many streamed bytes (weights and cache) and layers; None without calibration."""
    if profile.bandwidth_gbps is None:
        return None
    return 1 / (streamed / (profile.bandwidth_gbps * 1e9) + profile.layer_ms / 1e3 * layers)


def prefill_speed(shape: ModelShape, profile: DeviceProfile) -> float | None:
    """Return tokens per second of pp512, or None where cycles of one of its storage types are not known."""
    if not profile.cores or not profile.ghz or not profile.cycles:
        return None
    body = [one for one in shape.streamed if one.name != shape.head]
    if any(one.type not in profile.cycles for one in body):
        return None
    weights = sum(one.weights * shape.used(one) * profile.cycles[one.type] for one in body)
    attention = 2 * shape.layers * shape.heads * shape.head_size * PP * profile.attention_cycles
    return profile.cores * profile.ghz * 1e9 / (weights + attention) if weights else None


def suited(shape: ModelShape, profile: DeviceProfile) -> tuple[str, ...]:
    """Return the quantisations that suit a device, best first; others where rows do not divide by 256."""
    whole = all(one.shape[0] % 256 == 0 for one in shape.streamed)
    return profile.quants if whole else profile.quants_if_not_256


def _device(name: str | Path) -> DeviceProfile:
    return device(name)


def _is_unquantised_config(model: Any) -> bool:
    if isinstance(model, Mapping):
        return True
    path = Path(getattr(model, "path", model))
    return path.is_dir() or path.suffix == ".json"


def _needed(shape: ModelShape, profile: DeviceProfile, context: int) -> int:
    return sum(size for purpose, size in memory_needed(shape, profile, context).items() if purpose != "available")


def _verdict(shape: ModelShape, profile: DeviceProfile, context: int, figures: tuple[int, float | None]) -> str:
    needed, speed = figures
    reserve = profile.reserve_mib * _MIB
    used, left = size_text(needed - reserve), size_text(max(profile.ram_mib * _MIB - reserve, 0))
    pace = _pace(shape, profile, speed) if speed else "speed unknown: this device is not calibrated"
    note = f" The model was trained for {shape.context} tokens of context." if 0 < shape.context < context else ""
    room = f"with {context} tokens of context"
    if needed <= profile.ram_mib * _MIB:
        return f"Fits {profile.title}: {used} of the {left} that the system leaves, {room}; {pace}.{note}"
    return f"Does not fit {profile.title}: it needs {used} {room}, and the system leaves {left}.{note}"


def _faster(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[str]:
    """Yield the device's own quantisations that are clearly faster than the one planned."""
    speed = decode_speed(shape, profile)
    for quant in suited(shape, profile):
        other = shape.quantised(quant)
        rate = decode_speed(other, profile)
        if speed and rate and rate >= _FASTER * speed:
            yield _offer(quant, other, rate)


def _smaller(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[str]:
    """Yield what would fit: a shorter context, smaller quantisations, a bigger board."""
    available = profile.ram_mib * _MIB
    shorter = context // 2
    while shorter >= KV_PAD and _needed(shape, profile, shorter) > available:
        shorter //= 2
    if shorter >= KV_PAD:
        yield f"{shorter} tokens of context"
    yield from islice(_fitting(shape, profile, context), 3)
    yield from _bigger(shape, profile, context)


def _fitting(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[str]:
    """Yield the smaller quantisations that fit, largest first."""
    for quant in QUANTS:
        if quant in profile.avoid or quant in BY_REQUEST or bits(QUANTS[quant]) >= 16:
            continue
        other = shape.quantised(quant)
        if other.file_bytes < shape.file_bytes and _needed(other, profile, context) <= profile.ram_mib * _MIB:
            yield _offer(quant, other, decode_speed(other, profile))


def _bigger(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[str]:
    """Yield the first bigger board that holds the model as it is, else in the quantisation that suits that board."""
    boards = [one for one in map(device, device_names()) if one.ram_mib > profile.ram_mib and one.calibrated]
    for smaller in (False, True):
        for board in boards:
            other = shape.quantised(suited(shape, board)[0]) if smaller else shape
            if _needed(other, board, context) <= board.ram_mib * _MIB:
                title = f"{board.title} with {other.quant}" if smaller else board.title
                yield _offer(title, other, decode_speed(other, board))
                return


def _offer(quant: str, shape: ModelShape, speed: float | None) -> str:
    return f"{quant}: {size_text(shape.file_bytes)}" + (f", about {_rounded(speed):g} tokens per second" if speed else "")


def _pace(shape: ModelShape, profile: DeviceProfile, speed: float) -> str:
    return f"about {_rounded(speed):g} tokens per second" + (", extrapolated" if _extrapolated(shape, profile) else "")


def _extrapolated(shape: ModelShape, profile: DeviceProfile) -> str:
    """Return that a model's file lies outside what the speeds were fitted on, or nothing."""
    if not profile.calibrated or profile.fitted(shape.file_bytes):
        return ""
    low, high = (size_text(int((size or 0) * 1e6)) for size in (profile.fitted_from_mb, profile.fitted_to_mb))
    return f"extrapolated: the speeds were fitted on files of {low} to {high}, this one has {size_text(shape.file_bytes)}"


def _source(shape: ModelShape, profile: DeviceProfile) -> str:
    fact = profile.facts.get("bandwidth_gbps")
    if fact is None:
        return "speed: not calibrated"
    note = _extrapolated(shape, profile)
    if note:  # the errors of the fit say nothing about a model of another size
        return f"{note} (trust {_LEAST_TRUST} of 3); decode: {fact.source}"
    return f"decode: {fact.source} (trust {fact.trust} of 3)"


def _rounded(speed: float | None) -> float | None:
    """Return a speed with three significant digits: more would claim too much."""
    return float(f"{speed:.3g}") if speed else None


def size_text(size: int) -> str:
    """Return a size in decimal megabytes or gigabytes, as file listings and memory cards say it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
