"""A whole plugin: a teacher by rule, a student that looks answers up, its packed file, what runs it, and a metric."""

from __future__ import annotations

import pillm
from pillm_shout.metric import Closeness
from pillm_shout.student import Lookup, Packed, Table
from pillm_shout.teacher import Shout


@pillm.hookimpl
def pillm_teachers() -> list[type[pillm.Teacher]]:
    """Return the teachers of this plugin."""
    return [Shout]


@pillm.hookimpl
def pillm_trainers() -> list[type[pillm.Trainer]]:
    """Return the trainers of this plugin."""
    return [Lookup]


@pillm.hookimpl
def pillm_exporters() -> list[type[pillm.Exporter]]:
    """Return the exporters of this plugin."""
    return [Packed]


@pillm.hookimpl
def pillm_runners() -> list[type[pillm.Runner]]:
    """Return the runners of this plugin."""
    return [Table]


@pillm.hookimpl
def pillm_metrics() -> list[type[pillm.Metric]]:
    """Return the metrics of this plugin."""
    return [Closeness]
