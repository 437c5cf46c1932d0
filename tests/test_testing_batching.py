"""The conformance kit's check of batch queues: it passes what keeps the protocol, and names what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pillm.batches import BatchStatus
from pillm.records import Answer, Failure
from pillm.testing import ConformanceError, check_batch_teacher
from tests.depot import Depot


def test_a_queue_that_keeps_the_protocol_passes(tmp_path: Path) -> None:
    said = check_batch_teacher(Depot(folder=tmp_path / "depot"))
    assert all(isinstance(result, Answer) for result in said.values())
    assert len(said) >= 2


class Unfound(Depot):
    """Forgets names."""

    name: ClassVar[str] = "unfound"

    def find(self, name: str) -> str | None:
        return None


class Twice(Depot):
    """Says all twice."""

    name: ClassVar[str] = "twice"

    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        yield from super().collect(batch)
        yield from super().collect(batch)


class Foreign(Depot):
    """Says what was not asked."""

    name: ClassVar[str] = "foreign"

    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        yield "v1:other", Answer("x")


class Once(Depot):
    """Says all once."""

    name: ClassVar[str] = "once"

    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        results = list(super().collect(batch))
        mark = self.folder / "collected"
        yield from results[:1] if mark.exists() else results
        mark.touch()


class Overdone(Depot):
    """Does more than it has."""

    name: ClassVar[str] = "overdone"

    def poll(self, batch: str) -> BatchStatus:
        return BatchStatus(ended=True, done=5, total=3)


class Endless(Depot):
    """Never ends."""

    name: ClassVar[str] = "endless"

    def poll(self, batch: str) -> BatchStatus:
        return BatchStatus(ended=False)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Unfound, "a kill would buy it twice"),
        (Twice, "two results of one request"),
        (Foreign, "no result under the keys"),
        (Once, "other results when a batch is collected again"),
        (Overdone, "5 of 3 requests are done"),
        (Endless, "did not end within 0.1 s"),
    ],
)
def test_a_queue_that_breaks_a_rule_is_told_which(tmp_path: Path, broken: Any, rule: str) -> None:
    with pytest.raises(ConformanceError, match=rule):
        check_batch_teacher(broken(folder=tmp_path / "depot"), patience=0.1)
