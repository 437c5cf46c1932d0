"""What was seen before is known, for any number of texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pillm.seen import Seen


@given(texts=st.lists(st.text(max_size=8), max_size=30))
def test_a_text_is_first_once_and_keeps_its_first_note(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    with Seen() as seen:
        firsts = [seen.first(text, str(number)) for number, text in enumerate(texts)]
        assert [text for text, first in zip(texts, firsts, strict=True) if first] == list(dict.fromkeys(texts))
        assert all(seen.note(text) == str(texts.index(text)) for text in texts)
        assert seen.note("never") is None or "never" in texts
