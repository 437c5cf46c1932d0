"""What was measured is on disk at once, and a torn line is no line."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_llamacpp.choosing.ledger import Ledger


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger", "state")
    assert not first.resumed
    first.add({"mean": 0.5}, "file", ["Q4_0", []])
    first.add(3, "score")
    again = Ledger(tmp_path / "ledger", "state")
    assert again.resumed
    assert len(again) == 2
    assert again.get("file", ["Q4_0", []]) == {"mean": 0.5}
    assert again.get("file", ["Q4_1", []]) is None


def test_what_another_state_left_is_forgotten(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger", "state").add(1, "file")
    other = Ledger(tmp_path / "ledger", "other")
    assert (other.resumed, other.get("file")) == (False, None)
    assert Ledger(tmp_path / "ledger", "state").get("file") is None


def test_without_a_file_it_remembers_all_the_same() -> None:
    ledger = Ledger()
    assert ledger.add(1.5, "a") == ledger.get("a") == 1.5
    assert not ledger.resumed


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 400), st.binary(max_size=20))
def test_a_ledger_that_is_cut_or_ends_in_rubbish_keeps_its_whole_lines_and_goes_on(cut: int, rubbish: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        whole = Ledger(path, "state")
        for number in range(3):
            whole.add(number, number)
        data = path.read_bytes()
        path.write_bytes(data[:cut] + rubbish)
        again = Ledger(path, "state")
        lines = data[:cut].count(b"\n")
        if not rubbish and lines:
            assert [again.get(number) for number in range(3)] == [number if number < lines - 1 else None for number in range(3)]
        again.add("new", "new")
        after = Ledger(path, "state")
        assert after.get("new") == "new"
        assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
