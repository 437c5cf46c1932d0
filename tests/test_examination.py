"""What an examination found, and when it stops the work."""

from __future__ import annotations

import pytest

from pillm.errors import DataError
from pillm.examination import Finding, refuse_wrong

WELL, NOTE = Finding("a", "ok", "fine"), Finding("b", "note", "odd widths", "Prefer IQ4_NL.")
LOST, BAD = Finding("c", "missing", "there is no template.", "Add one."), Finding("d", "broken", "two tokens are one.")


def test_notes_stand_in_nobodys_way() -> None:
    assert refuse_wrong(iter([WELL, NOTE]), "packing") == [WELL, NOTE]
    assert [one.wrong for one in (WELL, NOTE, LOST, BAD)] == [False, False, True, True]


def test_the_first_that_stands_in_the_way_is_raised_with_its_remedy() -> None:
    with pytest.raises(DataError) as caught:
        refuse_wrong([WELL, LOST], "packing")
    assert str(caught.value) == "packing: there is no template. Add one."


def test_the_others_are_counted() -> None:
    with pytest.raises(DataError, match=r"packing: two tokens are one\. 1 more thing stands in the way\."):
        refuse_wrong([BAD, NOTE, LOST], "packing")
    with pytest.raises(DataError, match=r"2 more things stand in the way\."):
        refuse_wrong([BAD, LOST, LOST], "packing")
