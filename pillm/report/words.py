"""Figures as people read them: scores, sizes, speeds, times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillm.stages.intervals import MIN_UNITS
from pillm.wording import score as score
from pillm.wording import size as size
from pillm.wording import speed as speed

SET_TITLES = {"test": "Held-out", "validation": "Validation", "handwritten": "Hand-written", "community": "Community"}
SET_NOTES = {
    "test": "Kept out of training.",
    "validation": "Kept out of training; the file to take was chosen on them.",
    "handwritten": "Written by hand, by no generator.",
    "community": "Written by others, for other purposes.",
}
KIND_TITLES = {
    "teacher": "Teacher", "base": "Untrained base", "adapter": "Adapter, unmerged", "checkpoint": "Checkpoint", "model": "File",
    "device": "File on its device",
}  # fmt: skip


def set_title(name: str) -> str:
    """Return a set's name as a heading."""
    return SET_TITLES.get(name, name.replace("_", " ").capitalize())


def subject_title(one: Mapping[str, Any]) -> str:
    """Return a subject's name for plots and tables: its kind, or its quantisation where it is a file."""
    if one["kind"] in ("model", "device"):
        there = " on its device" if one["kind"] == "device" else ""
        return f"{one.get('quant') or one['subject']}{there}"
    return KIND_TITLES[one["kind"]]


def student_titles(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of checkpoint and files by name; teacher and base, which may have a student's name, are none."""
    return {one["subject"]: subject_title(one) for one in report["evaluations"] if one["kind"] in ("checkpoint", "model")}


def percent(value: float) -> str:
    """Return a ratio in percent; nothing but all is 100 %."""
    shown = f"{100 * value:.1f}"
    if shown == "100.0" and value < 1:
        shown = "99.9"
    return shown.removesuffix(".0") + " %"


def interval(figure: Mapping[str, Any]) -> str:
    """Return a mean's 95 % interval."""
    return f"[{figure['low']:.3f}, {figure['high']:.3f}]"


def signed(value: float) -> str:
    """Return a difference with its sign; a true minus, and no minus before zero."""
    shown = f"{value:+.3f}"
    return "±0.000" if shown in ("+0.000", "-0.000") else shown.replace("-", "\u2212")


def size_tick(count: float) -> str:
    """Return a round number of bytes for an axis."""
    unit, scale = next(((unit, scale) for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= scale), ("B", 1))
    return f"{count / scale:g} {unit}"


def loss(value: float) -> str:
    """Return a loss with three significant digits, and no power of ten where it is large."""
    shown = f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 100 else f"{value:.3g}"
    return shown.replace("-", "\u2212")


def duration(seconds: float) -> str:
    """Return seconds as a clock says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def count(value: int) -> str:
    """Return a number of things, thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def certain(step: Mapping[str, Any]) -> bool:
    """Return whether the interval of a paired difference leaves out zero and enough groups or rows speak for it."""
    return bool(step.get("units", MIN_UNITS) >= MIN_UNITS and (step["low"] > 0 or step["high"] < 0))
