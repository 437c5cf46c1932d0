from __future__ import annotations

import os
from pathlib import Path

from pillm_llamacpp.quantizing.finished import LEDGER_FILE, Finished, state_of

import pillm

PARITY = pillm.Parity(rows=3, mismatches=0)


def finished(tmp_path: Path) -> tuple[Path, Path, pillm.ModelFile]:
    """Leave what a killed export leaves: a proved file and one that is finished."""
    work, target = tmp_path / "work", tmp_path / "x-Q8_0.gguf"
    work.mkdir()
    record = Finished(work, "key")
    (work / "x-F16.gguf").write_bytes(b"full")
    target.write_bytes(b"finished")
    model = pillm.ModelFile.of(target, "Q8_0", parity=PARITY, types={"Q8_0": 3})
    record.add(model)
    return work, target, model


def test_what_was_finished_is_found_again(tmp_path: Path) -> None:
    work, target, model = finished(tmp_path)
    again = Finished(work, "key")
    assert (work / "x-F16.gguf").is_file()
    assert again.model(target, "Q8_0") == model
    assert again.model(target, "Q4_0") is None


def test_a_file_that_changed_since_is_made_again(tmp_path: Path) -> None:
    work, target, _ = finished(tmp_path)
    target.write_bytes(b"finishes")
    again = Finished(work, "key")
    assert again.model(target, "Q8_0") is None


def test_what_another_model_left_is_removed(tmp_path: Path) -> None:
    work, target, _ = finished(tmp_path)
    other = Finished(work, "another key")
    assert other.model(target, "Q8_0") is None
    assert not (work / "x-F16.gguf").exists()


def test_giving_up_frees_the_room_and_remembers_what_was_finished(tmp_path: Path) -> None:
    work, target, model = finished(tmp_path)
    Finished(work, "key").give_up()
    assert not (work / "x-F16.gguf").exists()
    assert Finished(work, "key").model(target, "Q8_0") == model


def test_giving_up_with_nothing_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    Finished(tmp_path / "work", "key").give_up()
    assert not (tmp_path / "work").exists()


def test_giving_up_keeps_what_a_search_had_measured(tmp_path: Path) -> None:
    work = tmp_path / "work"
    record = Finished(work, "key")
    (work / LEDGER_FILE).write_text("measured")
    (work / "trials").mkdir()
    record.give_up()
    assert (work / LEDGER_FILE).read_text() == "measured"
    assert not (work / "trials").exists()
    Finished(work, "key")
    assert (work / LEDGER_FILE).is_file(), "the same command finds it again"


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    work, target, _ = finished(tmp_path)
    (work / "finished.json").write_text("[")
    assert Finished(work, "key").model(target, "Q8_0") is None


def test_the_state_changes_with_any_file_and_with_what_was_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = state_of(tmp_path, {"quants": "F16"})
    assert first == state_of(tmp_path, {"quants": "F16"}) != state_of(tmp_path, {"quants": "Q8_0"})
    os.utime(tmp_path / "a", ns=(1, 1))
    assert state_of(tmp_path, {"quants": "F16"}) != first
