"""The kinds of backend: what each is called, and the class that plugins subclass."""

from __future__ import annotations

from typing import Any

from pillm.backends import Backend, Exporter, Filter, Metric, Runner, Teacher, Trainer
from pillm.hubs import Publisher, Source

KINDS: dict[str, type[Backend]] = {
    "teacher": Teacher,
    "trainer": Trainer,
    "exporter": Exporter,
    "runner": Runner,
    "metric": Metric,
    "filter": Filter,
    "source": Source,
    "publisher": Publisher,
}


def kind_of(cls: type[Any]) -> str:
    """Return the kind of a backend class: teacher, trainer, exporter, runner, metric, filter, source or publisher."""
    return next(kind for kind, base in KINDS.items() if issubclass(cls, base))
