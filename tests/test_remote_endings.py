"""How commands end, in words."""

from __future__ import annotations

import pytest

import pillm
from pillm.remote.endings import ending, failure, size, tail


@pytest.mark.parametrize(
    ("code", "said"),
    [(132, "another CPU"), (134, "aborted"), (137, "out of memory"), (139, "crashed"), (143, "told to end"), (3, "status 3")],
)
def test_a_status_has_words(code: int, said: str) -> None:
    assert said in ending(code)


def test_memory_is_said_where_it_is_known() -> None:
    assert ending(137, 3_000_000_000, 950_000_000).endswith("(needs 3.0 GB, has 950 MB)")
    assert ending(137, None, 950_000_000).endswith("(the device has 950 MB)")
    assert ending(137).endswith("memory")


@pytest.mark.parametrize(
    ("code", "stderr", "kind"),
    [
        (127, "", pillm.MissingDependency),
        (126, "", pillm.BackendError),
        (1, "cat: write error: No space left on device", pillm.StorageError),
        (1, "", pillm.BackendError),
    ],
)
def test_a_failure_has_its_kind(code: int, stderr: str, kind: type[Exception]) -> None:
    assert type(failure("pi", "cat", code, stderr)) is kind


def test_only_the_end_of_what_was_said_is_repeated() -> None:
    assert tail("one\ntwo\nthree\nfour\n") == "two three four"
    assert len(tail("x" * 5000)) == 600
    assert size(1_500_000) == "2 MB"
