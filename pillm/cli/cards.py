"""A plan as a card that a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillm.artifacts import Plan


def megabytes(count: float) -> str:
    """Return bytes as megabytes, exact enough for a person."""
    return f"{count / 1e6:,.1f}" if count < 1e8 else f"{count / 1e6:,.0f}"


def plan_lines(plan: Plan) -> list[str]:
    """Return the verdict, the memory by purpose, the speeds and the alternatives of a plan."""
    lines = [
        f"{plan.model} ({plan.quant}, {megabytes(plan.bytes)} MB) on {plan.device}: {'fits' if plan.fits else 'does not fit'}",
        plan.verdict,
        "",
    ]
    available = plan.memory.get("available")
    used = {name: size for name, size in plan.memory.items() if name != "available"}
    lines += [f"  {name.replace('_', ' '):10} {megabytes(size):>9} MB" for name, size in used.items()]
    total = f"  {'together':10} {megabytes(sum(used.values())):>9} MB"
    lines.append(total + (f" of {megabytes(available)} MB" if available else ""))
    lines.append("")
    basis = f"{plan.basis}, extrapolated" if plan.basis_note else plan.basis
    for name, speed in (("prefill", plan.pp_tps), ("decode", plan.tg_tps)):
        known = f"{speed:9,.1f} tokens/s ({basis})" if speed is not None else "unknown: nobody measured this device"
        lines.append(f"  {name:10} {known}")
    lines.append(f"  {'context':10} {plan.context:9,} tokens")
    if plan.alternatives:
        lines += ["", "Instead:", *(f"  {one}" for one in plan.alternatives)]
    if plan.source:
        lines += ["", f"Source: {plan.source}"]
    return lines
