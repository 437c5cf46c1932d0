"""The part of a report that says what the shipped file would do on its device: predicted, and one answer of it emulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pillm.artifacts import Evaluation
from pillm.devices import device
from pillm.errors import PillmError
from pillm.plans import Plan
from pillm.records import JSONObject
from pillm.report.elements import Markup, tag
from pillm.report.plots import section
from pillm.report.words import duration, size, speed
from pillm.wording import code, escaped


def on_device(
    plans: Sequence[Plan], chosen: Evaluation | None, emulated: JSONObject | None, note: str | None
) -> JSONObject | None:
    """Return what is expected of the chosen file on its device; None where it was planned for none."""
    plan = next((one for one in plans if chosen is not None and one.model == chosen.subject), None)
    if plan is None or chosen is None:
        return None
    needed = sum(count for purpose, count in plan.memory.items() if purpose != "available")
    return {
        "device": plan.device,
        "title": _title(plan.device),
        "model": plan.model,
        "basis": plan.basis,
        "fits": plan.fits,
        "tight": plan.tight,
        "tg_tps": plan.tg_tps,
        "pp_tps": plan.pp_tps,
        "tg_interval": plan.tg_interval and list(plan.tg_interval),
        "pp_interval": plan.pp_interval and list(plan.pp_interval),
        "trust": min((fact.trust for name, fact in plan.told.items() if name != "memory"), default=None),
        "extrapolated": plan.extrapolated,
        "unknown": plan.unknown or None,
        "prompt_tokens": plan.lengths.prompt if plan.lengths else None,
        "answer_tokens": plan.lengths.answer if plan.lengths else None,
        "first_token_seconds": plan.ttft_s,
        "answer_seconds": plan.answer_s,
        "memory": {"needed": needed, "available": plan.memory.get("available")},
        "note": plan.basis_note,
        "emulated": emulated,
        "not_emulated": note,
    }


def _title(name: str) -> str:
    try:
        return device(name).title
    except PillmError:  # a profile of the recipe's own, which is known by its path alone
        return name


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return what is expected on the device, as sentences; none where nothing was planned."""
    found = report.get("on_device")
    if not found:
        return []
    return [one for one in (_expected(found), _memory(found), _emulated(found)) if one]


def _expected(found: Mapping[str, Any]) -> str:
    if found["tg_tps"] is None:
        why = found.get("unknown") or f"{found['title']} is not calibrated"
        return f"How fast {found['model']} would be is not known: {why}."
    pace = f"{found['model']} would write about {speed(found['tg_tps'])} tokens per second ({_grounds(found)})"
    whole, first = found["answer_seconds"], found["first_token_seconds"]
    if whole is not None and first is not None:
        pace += (
            f"; a typical answer, {found['answer_tokens']} tokens after a prompt of {found['prompt_tokens']}, would "
            f"take {_pause(whole)}, the first token {_pause(first)}"
        )
    note = found["note"]
    return f"{pace}. {note[0].upper()}{note[1:]}." if note else f"{pace}."


def _grounds(found: Mapping[str, Any]) -> str:
    """Return that a speed was predicted, within what, and how far that is to be trusted; older reports say less."""
    span, trust = found.get("tg_interval"), found.get("trust")
    parts = [
        "predicted",
        "extrapolated" if found.get("extrapolated") else None,
        "nothing was run there",
        f"nine in ten speeds like it lie between {speed(span[0])} and {speed(span[1])}" if span else None,
        f"trust {trust} of 3" if trust else None,
    ]
    return ", ".join(part for part in parts if part)


def _pause(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _memory(found: Mapping[str, Any]) -> str:
    memory = found["memory"]
    verdict = "It fits" if found["fits"] else "It does not fit"
    if found.get("tight"):  # a report of before has no such word
        verdict = "It fits tightly, and loads slower for it"
    return (
        f"{verdict}: it needs {size(memory['needed'])} with what the system keeps, of {size(memory['available'])} (predicted)."
    )


def _emulated(found: Mapping[str, Any]) -> str:
    told = found["emulated"]
    if told is None:
        return f"Its code for the device was not tried here: {found['not_emulated']}" if found["not_emulated"] else ""
    asked = f"Asked the held-out row {told['row']!r} with the device's own program on its processor as an emulator plays it"
    if told["same"]:
        return f"{asked}, it answered the same {told['compared']} {told['unit']} as here."
    unit = str(told["unit"]).removesuffix("s")
    return f"{asked}, it answered otherwise than here from {unit} {told['parts_at'] + 1} of {told['compared']} on."


def markdown_part(report: Mapping[str, Any]) -> str:
    """Return the part as Markdown, or nothing."""
    found = report.get("on_device")
    if not found:
        return ""
    parts = [f"## On a {escaped(found['title'])}", *(escaped(one) for one in sentences(report))]
    if found["emulated"]:
        told = found["emulated"]
        parts.append(f"- asked: {code(told['prompt'])}\n- emulated: {code(told['answer'])}\n- here: {code(told['here'])}")
    return "\n\n".join(parts)


def device_section(report: Mapping[str, Any]) -> Markup | None:
    """Return the part as HTML, or None."""
    found = report.get("on_device")
    if not found:
        return None
    told = found["emulated"]
    shown = told and [
        tag("div", tag("dt", name), tag("dd", tag("code", told[key])))
        for name, key in (("asked", "prompt"), ("emulated", "answer"), ("here", "here"))
    ]
    lines = [tag("p", one) for one in sentences(report)]
    said = tag("dl", *shown, class_="said") if shown else None
    return section("device", f"On a {found['title']}", "", *lines, said)
