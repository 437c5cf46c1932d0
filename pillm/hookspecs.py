"""The questions that pillm asks its plugins.

A plugin answers the ones it can, by returning classes: the class's `name` is what people type, its fields are its
options, the first line of its docstring is its description. Nothing is built until somebody configures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from pathlib import Path

    from pillm.backends import Exporter, Filter, Metric, Runner, Teacher, Trainer
    from pillm.hubs import Publisher, Source
    from pillm.tablefile import Table

hookspec = HookspecMarker("pillm")
hookimpl = HookimplMarker("pillm")


@hookspec
def pillm_teachers() -> Iterable[type[Teacher]]:
    """Return the teachers this plugin provides."""
    return ()


@hookspec
def pillm_trainers() -> Iterable[type[Trainer]]:
    """Return the trainers this plugin provides."""
    return ()


@hookspec
def pillm_exporters() -> Iterable[type[Exporter]]:
    """Return the exporters this plugin provides."""
    return ()


@hookspec
def pillm_runners() -> Iterable[type[Runner]]:
    """Return the runners this plugin provides."""
    return ()


@hookspec
def pillm_metrics() -> Iterable[type[Metric]]:
    """Return the metrics this plugin provides."""
    return ()


@hookspec
def pillm_filters() -> Iterable[type[Filter]]:
    """Return the row filters this plugin provides."""
    return ()


@hookspec
def pillm_sources() -> Iterable[type[Source]]:
    """Return the sources of models this plugin provides: hubs, by the names of their models."""
    return ()


@hookspec
def pillm_publishers() -> Iterable[type[Publisher]]:
    """Return the publishers this plugin provides: where a run's files go for others."""
    return ()


@hookspec
def pillm_models() -> Mapping[str, Path]:
    """Return the models this plugin ships: name -> Hugging Face model folder."""
    return {}


@hookspec
def pillm_tables() -> Mapping[str, Callable[[str], Table]]:
    """Return the places this plugin reads tables from: the scheme of their addresses -> address to table."""
    return {}
