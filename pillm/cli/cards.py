"""A plan as a card that a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from pillm.artifacts import Plan

TRUST = "trust of pp/tg: 3 fitted on or taken from measurements, 2 published or typical, 1 estimated or extrapolated"
_ROOM = {"yes": "fits", "tight": "fits tightly", "no": "does not fit"}
SHARE = 90
"""Per cent of the measured speeds that lie within an interval."""


def megabytes(count: float) -> str:
    """Return bytes as megabytes, exact enough for a person."""
    return f"{count / 1e6:,.1f}" if count < 1e8 else f"{count / 1e6:,.0f}"


def plan_lines(plan: Plan) -> list[str]:
    """Return the verdict, the memory by purpose, the speeds, the times and the alternatives of a plan."""
    lines = [
        f"{plan.model} ({plan.quant}, {megabytes(plan.bytes)} MB) on {plan.device}: {_ROOM[plan.room]}",
        plan.verdict,
        "",
    ]
    available = plan.memory.get("available")
    used = {name: size for name, size in plan.memory.items() if name != "available"}
    lines += [f"  {name.replace('_', ' '):10} {megabytes(size):>9} MB" for name, size in used.items() if size]
    total = f"  {'together':10} {megabytes(sum(used.values())):>9} MB"
    spare = f", {megabytes(plan.reclaimable)} of them given back where memory is short" if plan.reclaimable else ""
    lines.append(total + (f" of {megabytes(available)} MB" if available else "") + spare)
    lines.append(f"  {'on disk':10} {megabytes(plan.bytes + (plan.prefix_bytes or 0)):>9} MB")
    lines.append("")
    for name, speed, span in (("prefill", plan.pp_tps, plan.pp_interval), ("decode", plan.tg_tps, plan.tg_interval)):
        known = (
            f"{tokens_per_second(speed):>9} tokens/s ({_grounds(plan, name, span)})"
            if speed is not None
            else "unknown: nobody measured it here"
        )
        lines.append(f"  {name:10} {known}")
    each = f" for each of {plan.parallel} answers at once; the speeds are of one alone" if plan.parallel > 1 else ""
    lines.append(f"  {'context':10} {plan.context:9,} tokens{each}")
    lines += _times(plan)
    if plan.alternatives:
        lines += ["", "Instead:", *(f"  {one}" for one in plan.alternatives)]
    if plan.told:
        told = (f"  {name:10} trust {fact.trust} of 3: {fact.source}" for name, fact in plan.told.items())
        lines += ["", "Sources:", *told]
    return lines


def plans_table(plans: Sequence[Plan]) -> Table:
    """Return one row for each plan: size, memory, speeds, times, trust, and whether it fits."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    several = {name: len({getattr(one, name) for one in plans}) > 1 for name in ("model", "device")}
    names = [name for name, shown in several.items() if shown]
    for head in (*names, "quant"):
        table.add_column(head, no_wrap=True)
    timed = plans[0].lengths is not None
    saved = timed and plans[0].lengths is not None and plans[0].lengths.prefix > 0
    for head in ("MB", "RAM MB", "pp t/s", "tg t/s", *(("TTFT", "answer") if timed else ()), *(("saved",) if saved else ())):
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("trust", "fits"):
        table.add_column(head)
    for one in plans:
        needed = sum(size for purpose, size in one.memory.items() if purpose not in ("available", "reserve"))
        cells = [*(getattr(one, name) for name in names), one.quant, megabytes(one.bytes), megabytes(needed)]
        cells += [tokens_per_second(one.pp_tps), tokens_per_second(one.tg_tps)]
        cells += [seconds(one.ttft_s), seconds(one.answer_s)] if timed else []
        cells += [seconds(one.answer_saved_s)] if saved else []
        table.add_row(*cells, trusted(one), one.room)
    return table


def trusted(plan: Plan) -> str:
    """Return how far the speeds of a plan are to be trusted, prefill before decode; a dash where none is told."""
    return "/".join(str(plan.told[name].trust) if name in plan.told else "-" for name in ("prefill", "decode"))


def tokens_per_second(speed: float | None) -> str:
    """Return a speed with the three digits that a prediction has."""
    if not speed:
        return "?"
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}" if speed >= 10 else f"{speed:.2f}"


def seconds(count: float | None) -> str:
    """Return a time as text, with as many digits as a prediction deserves."""
    if count is None:
        return "unknown"
    if count < 0.1:
        return f"{count * 1000:.1f} ms"
    return f"{count:.2f} s" if count < 10 else f"{count:.0f} s" if count < 600 else f"{count / 60:.0f} min"


def _times(plan: Plan) -> Iterator[str]:
    lengths = plan.lengths
    if lengths is None:
        return
    reckoned = " (reckoned from characters)" if lengths.estimated else ""
    yield ""
    yield f"  a prompt of {lengths.prompt:,} tokens and an answer of {lengths.answer:,}, the model loaded{reckoned}:"
    yield f"  {'first token':16} {seconds(plan.ttft_s):>9}    {'answer':8} {seconds(plan.answer_s):>9}"
    if lengths.prefix:
        first, whole = seconds(plan.ttft_saved_s), seconds(plan.answer_saved_s)
        yield f"  {'first token':16} {first:>9}    {'answer':8} {whole:>9}    the first {lengths.prefix:,} tokens saved"


def _grounds(plan: Plan, name: str, span: tuple[float, float] | None) -> str:
    """Return that a speed was predicted, within what, and how far it is to be trusted."""
    fact = plan.sources.get(name)
    far = ", extrapolated" if fact and fact.source.startswith("extrapolated") else ", estimated"
    word = far if fact and fact.trust == 1 else ""
    within = f"; {SHARE} %: {span[0]:,g} to {span[1]:,g}" if span else ""
    return f"{plan.basis}{word}{within}" + (f"; trust {fact.trust} of 3" if fact else "")
