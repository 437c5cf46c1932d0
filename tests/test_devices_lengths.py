"""How long requests are: counted by the file that answered them, else reckoned from characters."""

from __future__ import annotations

from dataclasses import replace

from pillm.artifacts import Evaluation
from pillm.devices.lengths import counted_lengths
from pillm.plans import Lengths

COUNTED = Evaluation(subject="s.gguf", kind="model", set="test", rows=3, metrics={}, prompt_tokens=40.5, completion_tokens=0.4)
RECKONED = Lengths(prompt=60, answer=9, prefix=50, estimated=True)


def test_what_the_file_counted_outweighs_what_was_reckoned() -> None:
    assert counted_lengths([COUNTED], "s.gguf", None) == Lengths(prompt=40, answer=1)
    found = counted_lengths([COUNTED], "s.gguf", RECKONED)
    assert found == Lengths(prompt=40, answer=1, prefix=40, estimated=True), "nobody counts the prefix"


def test_another_subject_or_one_that_counts_nothing_says_nothing() -> None:
    others = [replace(COUNTED, subject="other.gguf"), replace(COUNTED, kind="teacher"), replace(COUNTED, prompt_tokens=None)]
    assert counted_lengths(others, "s.gguf", RECKONED) is RECKONED
    assert counted_lengths([], "s.gguf", None) is None
