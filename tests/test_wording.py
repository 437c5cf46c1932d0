"""Text from outside stays text in Markdown, and figures read as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pillm.wording import code, escaped, score, size, speed, table


@given(st.text(max_size=60))
def test_nothing_in_a_cell_ends_its_row(text: str) -> None:
    for shown in (escaped(text), code(text)):
        assert "\n" not in shown
        assert "|" not in shown.replace("\\|", "")


def test_figures_have_their_usual_form() -> None:
    assert (score(0.12345), score(None)) == ("0.123", "–")
    assert (size(1_413_120), size(512), size(None)) == ("1.41 MB", "512 B", "–")
    assert (speed(3.14159), speed(31.4), speed(None)) == ("3.14", "31.4", "–")


def test_a_table_has_its_first_columns_on_the_left() -> None:
    assert table(["a", "b"], [["1", "2"]]).splitlines() == ["| a | b |", "| :-- | --: |", "| 1 | 2 |"]
