"""On what the figures of a plan rest, and how far that is to be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pillm.devices.memory import size_text
from pillm.devices.profile import DeviceProfile, Fact
from pillm.devices.shapes import ModelShape
from pillm.devices.speed import Load

LEAST = 1
_MEMORY = {
    "ram_mib": "what the device has", "reserve_mib": "what the system keeps", "runtime_mib": "what the program takes",
    "repacked": "what is held a second time",
}  # fmt: skip


def sources_of(shape: ModelShape, load: Load, profile: DeviceProfile) -> dict[str, Fact]:
    """Return the weakest of the facts that memory, prefill and decode are made of, by figure, where there are any."""
    far = extrapolated(shape, profile)
    found = {"memory": weakest(_memory(profile)), "prefill": weakest(_cycles(load, profile))}
    if profile.calibrated:
        found["decode"] = weakest(_decode(load, profile))
    known = {name: fact for name, fact in found.items() if fact is not None}
    if far:  # the errors of the fit say nothing about a model of another size
        beyond = {name: Fact(source=f"{far}; {fact.source}", trust=LEAST) for name, fact in known.items() if name != "memory"}
        known |= beyond
    return known


def weakness(shape: ModelShape, sources: Mapping[str, Fact], speeds: Mapping[str, float | None], profile: DeviceProfile) -> str:
    """Return what weakens the speeds that a plan tells, or nothing."""
    far = extrapolated(shape, profile)
    if far:
        return far
    weak = [
        f"{name} is an estimate ({sources[name].source})"
        for name, speed in speeds.items()
        if speed and name in sources and sources[name].trust <= LEAST
    ]
    return "; ".join(weak)


def extrapolated(shape: ModelShape, profile: DeviceProfile) -> str:
    """Return that a model's file lies outside what the speeds were fitted on, or nothing."""
    if not profile.calibrated or profile.fitted(shape.file_bytes):
        return ""
    low, high = (size_text(int((size or 0) * 1e6)) for size in (profile.fitted_from_mb, profile.fitted_to_mb))
    return f"extrapolated: the speeds were fitted on files of {low} to {high}, this one has {size_text(shape.file_bytes)}"


def weakest(facts: Iterable[Fact | None]) -> Fact | None:
    """Return the fact that is trusted least, the first of several."""
    return min((fact for fact in facts if fact is not None), key=lambda fact: fact.trust, default=None)


def _memory(profile: DeviceProfile) -> Iterator[Fact]:
    for key, said in _MEMORY.items():
        if key in profile.facts and (key != "repacked" or profile.repacked):
            fact = profile.facts[key]
            yield Fact(source=f"{said}: {fact.source}", trust=fact.trust)


def _cycles(load: Load, profile: DeviceProfile) -> Iterator[Fact | None]:
    yield from (profile.facts.get(f"cycles.{type_}") for type_ in load.body if type_ in profile.cycles)


def _decode(load: Load, profile: DeviceProfile) -> Iterator[Fact | None]:
    yield profile.facts.get("bandwidth_gbps")
    for type_ in load.weights:
        fact = profile.facts.get(f"decode_cycles.{type_}")
        yield profile.facts.get(f"cycles.{type_}") if fact is None and profile.decode_factor else fact
