"""How long a training will take, told by a few of its steps."""

from __future__ import annotations

from pillm_hf.rows.text import Encoded
from pillm_hf.training import timing


def encoded(count: int, length: int) -> list[Encoded]:
    return [Encoded(str(n), (), "", [5 + place % 200 for place in range(length)], 8, length) for n in range(count)]


def test_of_a_step_that_would_take_long_only_some_rows_are_timed() -> None:
    group = [encoded(8, 64), encoded(8, 64)]
    cells = timing._cells(group)
    assert timing._part(group, 10.0 / cells) == group
    assert timing._part(group, 20.0 / cells) == [group[0]]
    assert timing._part(group, 80.0 / cells) == [group[0][:2]]
    assert timing._part(group, 1e9) == [group[0][:1]]
