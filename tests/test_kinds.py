"""The kinds of backend."""

from __future__ import annotations

from pillm.kinds import KINDS, kind_of
from pillm.testing import TableTrainer
from pillm.testing.shelf import ShelfPublisher, ShelfSource


def test_every_kind_is_known_by_its_class() -> None:
    assert {kind: kind_of(base) for kind, base in KINDS.items()} == {kind: kind for kind in KINDS}
    assert [kind_of(cls) for cls in (TableTrainer, ShelfSource, ShelfPublisher)] == ["trainer", "source", "publisher"]
