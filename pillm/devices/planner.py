"""Say before a run whether a model fits a device and how fast it would be there: arithmetic over shapes.

Nothing is run and nothing is measured; what nobody measured is left out. The speeds are those of `speed`, the memory that
of `memory`, and how far they are to be trusted that of `trust`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pillm.artifacts import Alternative, Lengths, Plan
from pillm.devices import DeviceProfile
from pillm.devices import device as device_of
from pillm.devices.memory import MIB, fits, memory_needed, needed, reclaimable, roomy, serving_memory, size_text
from pillm.devices.offers import faster, rounded, smaller, suited
from pillm.devices.quants import QUANTS, bits
from pillm.devices.shapes import ModelShape, shape_of
from pillm.devices.speed import (
    Load,
    answer_seconds,
    decode_seconds,
    first_token_seconds,
    interval,
    kept_bytes,
    load_of,
    prefill_speed,
    well_known,
)
from pillm.devices.trust import extrapolated, sources_of, weakness
from pillm.errors import ConfigError, PillmError

_UNREAD = 128 << 20
"""Bytes that an answer takes beside the file where nothing is known of the model."""


def plan(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    context: int | None = None,
    quant: str | None = None,
    types: Mapping[str, str] | None = None,
    lengths: Lengths | None = None,
) -> Plan:
    """Return the plan of a model that is named by what it is, not by what it is called; `pillm.planning.plan` says the rest."""
    profile = device if isinstance(device, DeviceProfile) else device_of(device)
    shape = shape_of(model)
    if quant is not None or _is_unquantised_config(model):
        shape = shape.quantised(quant or suited(shape, profile)[0])
    if types:
        shape = shape.with_types(types)
    return plan_shape(shape, profile, context, lengths)


def memory_to_serve(model: Any, *, context: int, parallel: int = 1, ubatch: int = 512) -> int:
    """Return the bytes of memory that llama-server takes for a model file on a small board, at most.

    `context` are the tokens of one answer with its prompt, `parallel` the answers that are written at once, `ubatch` the tokens
    that are computed together. A file that the planner cannot read is taken for its size and an eighth of a gigabyte each.
    """
    try:
        return sum(serving_memory(shape_of(model), context, parallel=parallel, ubatch=ubatch).values())
    except PillmError:
        return int(model.bytes) + _UNREAD * parallel


def plan_table(
    model: Any, device: str | Path | DeviceProfile, *, context: int | None = None, lengths: Lengths | None = None
) -> list[Plan]:
    """Return a plan for each quantisation that the device does not run badly, largest first.

    Raises what `plan` raises.
    """
    profile = device if isinstance(device, DeviceProfile) else device_of(device)
    shape = shape_of(model)
    wanted = dict.fromkeys((shape.quant, *_tabled(profile), *suited(shape, profile)))
    order = sorted((name for name in wanted if name in QUANTS), key=list(QUANTS).index)
    return [plan_shape(shape.quantised(quant), profile, context, lengths) for quant in order]


def plan_shape(shape: ModelShape, profile: DeviceProfile, context: int | None = None, lengths: Lengths | None = None) -> Plan:
    """Return the plan of a shape as it is stored; `context` defaults to the profile's, at most what the model knows.

    A request that is longer than the default raises it. Raises ConfigError for lengths or a context that are not possible.
    """
    profile.check_memory()
    usual = min(profile.context, shape.context or profile.context)
    tokens = _context(usual, context, lengths)
    memory = memory_needed(shape, profile, tokens)
    load, own = load_of(shape), profile.at(shape.file_bytes)
    seconds = decode_seconds(load, own)
    tg, pp = 1 / seconds if seconds else None, prefill_speed(shape, profile)
    sources, beyond = sources_of(shape, load, own), bool(extrapolated(shape, own))
    known = {
        "tg_interval": None if beyond or not well_known(load, own, "decode_cycles") else own.decode_error,
        "pp_interval": None if beyond or not well_known(load, own, "cycles") else own.prefill_error,
    }
    return Plan(
        model=shape.name,
        device=profile.name,
        quant=shape.quant,
        fits=fits(shape, profile, tokens),
        tight=fits(shape, profile, tokens) and not roomy(shape, profile, tokens),
        bytes=shape.file_bytes,
        memory=memory,
        reclaimable=reclaimable(shape, profile),
        tg_tps=rounded(tg),
        pp_tps=rounded(pp),
        tg_interval=_span(tg, known["tg_interval"]),
        pp_interval=_span(pp, known["pp_interval"]),
        context=tokens,
        parallel=profile.parallel,
        verdict=_verdict(shape, profile, tokens, tg, usual if context is None else tokens),
        alternatives=tuple(_instead(shape, profile, tokens, lengths)),
        unknown="" if tg else _unknown(shape, own),
        basis_note=weakness(shape, sources, {"prefill": pp, "decode": tg}, own),
        sources=sources,
        **(_times(load, own, lengths) if lengths else {}),
    )


def _context(usual: int, asked: int | None, lengths: Lengths | None) -> int:
    """Return the tokens of context to plan for: what was asked for, else what is usual and holds the request."""
    if asked is not None and asked < 1:
        raise ConfigError(f"a context of {asked} tokens is not possible. Give 1 or more.")
    least = lengths.tokens if lengths else 0
    if asked is not None and lengths and asked < least:
        raise ConfigError(
            f"a context of {asked} tokens cannot hold a prompt of {lengths.prompt} and an answer of {lengths.answer}. "
            f"Give a context of {least} or more, or none: it is then as long as the request needs."
        )
    return asked or max(usual, least)


def _instead(shape: ModelShape, profile: DeviceProfile, context: int, lengths: Lengths | None) -> Iterator[Alternative]:
    if roomy(shape, profile, context):
        return faster(shape, profile, context)
    return smaller(shape, profile, context, lengths.tokens if lengths else 0)


def _times(load: Load, profile: DeviceProfile, lengths: Lengths) -> dict[str, Any]:
    """Return what a Plan says of requests of some lengths, with the prefix computed and, where there is one, saved."""
    found: dict[str, Any] = {"lengths": lengths}
    for name, saved in (("", 0), ("_saved", lengths.prefix)):
        if name and not saved:
            continue
        first = first_token_seconds(load, profile, lengths.prompt, saved=saved)
        whole = answer_seconds(load, profile, lengths.prompt, lengths.answer, saved=saved)
        found |= {f"ttft{name}_s": rounded(first), f"answer{name}_s": rounded(whole)}
    if lengths.prefix:
        found["prefix_bytes"] = kept_bytes(load, profile, lengths.prefix)
    return found


def _tabled(profile: DeviceProfile) -> list[str]:
    offered = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_NL", "Q3_K_M")
    return [quant for quant in offered if quant not in profile.avoid]


def _is_unquantised_config(model: Any) -> bool:
    if isinstance(model, Mapping):
        return True
    path = Path(getattr(model, "path", model))
    return path.is_dir() or path.suffix == ".json"


def _span(speed: float | None, error: float | None) -> tuple[float, float] | None:
    found = interval(speed, error)
    return (float(f"{found[0]:.3g}"), float(f"{found[1]:.3g}")) if found else None


def _verdict(shape: ModelShape, profile: DeviceProfile, context: int, speed: float | None, usual: int) -> str:
    reserve, used = profile.reserve_mib * MIB, needed(shape, profile, context)
    own, left = size_text(used - reserve), size_text(max(profile.ram_mib * MIB - reserve, 0))
    fitted = profile.at(shape.file_bytes)
    pace = _pace(shape, fitted, speed) if speed else f"speed unknown: {_unknown(shape, fitted)}"
    note = f" The model was trained for {shape.context} tokens of context." if 0 < shape.context < context else ""
    each = f" for each of {profile.parallel} answers at once" if profile.parallel > 1 else ""
    room = f"with {context} tokens of context{each}" + _raised(shape, profile, context, usual)
    if roomy(shape, profile, context):
        return f"Fits {profile.title}: {own} of the {left} that the system leaves, {room}; {pace}.{note}"
    if fits(shape, profile, context):
        spare = size_text(reclaimable(shape, profile))
        return (
            f"Fits {profile.title} tightly: {own} {room}, and the system leaves {left}. Of that, {spare} are pages of the file "
            f"whose weights are held in another order too: the system takes them back, so it loads slower; {pace}.{note}"
        )
    own = size_text(used - reserve - reclaimable(shape, profile))
    return f"Does not fit {profile.title}: it needs {own} {room}, and the system leaves {left}.{note}"


def _raised(shape: ModelShape, profile: DeviceProfile, context: int, usual: int) -> str:
    """Return what a request costs that the usual context would not hold, or nothing."""
    if context <= usual:
        return ""
    cost = needed(shape, profile, context) - needed(shape, profile, usual)
    return f" (the usual {usual} do not hold the request: {size_text(cost)} more)"


def _unknown(shape: ModelShape, profile: DeviceProfile) -> str:
    if not profile.calibrated:
        return "this device is not calibrated (`pillm plan --calibrate FILE.yaml`, run on it, measures it)"
    slow = {one.type for one in shape.streamed if profile.cycles_in_decode(one.type) is None}
    plain = " without its repacked copy" if "repacked" in profile.facts and not profile.repacked else ""
    return f"nobody measured {', '.join(sorted(slow, key=bits))}{plain} on this device"


def _pace(shape: ModelShape, profile: DeviceProfile, speed: float) -> str:
    return f"about {rounded(speed):g} tokens per second" + (", extrapolated" if extrapolated(shape, profile) else "")
