"""The history is only appended to: nothing that was measured is lost, whatever happens to the file or to the clock."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillm.artifacts import Benchmark, to_json
from pillm.errors import DataError, StorageError
from pillm.performance import history as module
from pillm.performance.history import History, default_history


def body(tg: float = 8.0, **changed: object) -> dict[str, object]:
    record = Benchmark(model="m.gguf", device="pi4", basis="measured", pp_tps=40.0, tg_tps=tg)
    return {"of": 0, "record": {**to_json(record), **changed}}


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    history = History(tmp_path / "deep/history.jsonl")
    assert [history.append("measured", body(tg)) for tg in (8.0, 9.5)] == [1, 2]
    assert [(one.sequence, one.record.tg_tps) for one in history.read().measured()] == [(1, 8.0), (2, 9.5)]
    assert history.read().damaged == ()


def test_no_history_holds_nothing(tmp_path: Path) -> None:
    assert History(tmp_path / "none.jsonl").read().entries == ()


def test_a_measurement_is_found_by_number_name_and_as_the_last(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    for tg in (8.0, 9.0, 10.0):
        history.append("measured", body(tg))
    history.append("baseline", {"of": 1, "name": "release"})
    history.append("baseline", {"of": 2, "name": "release"})
    found = history.read()
    assert [found.find(name).record.tg_tps for name in ("1", "last", "release")] == [8.0, 10.0, 9.0], "a name may move on"
    with pytest.raises(DataError, match=r"holds no measurement 'nightly'\. It has 3.*Baselines: release"):
        found.find("nightly")
    with pytest.raises(DataError, match="--save-baseline"):
        History(tmp_path / "none").read().find("4")


def test_a_measurement_that_was_killed_is_seen(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    first = history.append("started", {"about": {"model": "a"}})
    history.append("measured", {**body(), "of": first})
    second = history.append("started", {"about": {"model": "b"}})
    third = history.append("started", {"about": {"model": "c"}})
    history.append("interrupted", {"of": third, "reason": "Ctrl-C", "samples": {}})
    assert [one.sequence for one in history.read().unfinished()] == [second]


def test_what_timed_nothing_is_told_apart_from_what_was_interrupted(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    for timed in ({"timed": True}, {"timed": False}, {}):
        number = history.append("started", {"about": {"model": "a"}})
        history.append("interrupted", {"of": number, "reason": "", "samples": {}, **timed})
    found = history.read()
    assert [one.of for one in found.interrupted()] == [1, 5]
    assert [one.of for one in found.refused()] == [3]
    assert list(found.unfinished()) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(hurt=st.integers(0, 2), share=st.floats(0, 1), mask=st.integers(1, 255))
def test_whatever_is_damaged_is_told_and_the_other_lines_are_read(tmp_path: Path, hurt: int, share: float, mask: int) -> None:
    history = History(tmp_path / "h.jsonl")
    history.path.unlink(missing_ok=True)
    for tg in (8.0, 9.0, 10.0):
        history.append("measured", body(tg))
    lines = history.path.read_bytes().splitlines(keepends=True)
    place = int(share * (len(lines[hurt]) - 2))
    wrong = lines[hurt][place] ^ mask
    if wrong in b"\r\n":
        return  # two lines are damaged then
    lines[hurt] = lines[hurt][:place] + bytes([wrong]) + lines[hurt][place + 1 :]
    history.path.write_bytes(b"".join(lines))
    found = history.read()
    kept = [tg for number, tg in enumerate((8.0, 9.0, 10.0)) if number != hurt]
    assert [number for number, _ in found.damaged] == [hurt + 1]
    assert [one.record.tg_tps for one in found.measured()] == kept


def test_a_damaged_file_is_moved_aside_whole_and_its_good_lines_go_on(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    history.append("measured", body(8.0))
    history.append("measured", body(9.0))
    before = history.path.read_bytes() + b'{"sequence": 3, "kind": "meas'  # the power went
    history.path.write_bytes(before)
    assert history.append("measured", body(10.0)) == 3
    assert history.quarantined == tmp_path / "h.damaged-1.jsonl"
    assert history.quarantined.read_bytes() == before
    assert [one.record.tg_tps for one in history.read().measured()] == [8.0, 9.0, 10.0]
    history.path.write_bytes(b"rubbish\n" + history.path.read_bytes())
    again = History(history.path)
    again.append("measured", body(11.0))
    assert again.quarantined == tmp_path / "h.damaged-2.jsonl"
    assert (tmp_path / "h.damaged-1.jsonl").read_bytes() == before, "what was moved aside is never written over"


@pytest.mark.parametrize("text", [b"milk\neggs\n", b'{"id": 1}\n', b"\x00\x01GGUF", b"x"])
def test_another_programs_file_is_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"rows\.jsonl is no history of measurements, and it is left alone"):
        History(path).append("measured", body(8.0))
    assert path.read_bytes() == text
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("text", [b"", b"\x00" * 4096, b'{"sequence": 1, "kind": "mea'])
def test_what_a_history_looks_like_after_the_power_went_is_not_foreign(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(text)
    assert History(path).append("measured", body(8.0)) == 1


def test_reading_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(b"rubbish\n")
    assert History(path).read().damaged[0][0] == 1
    assert [one.name for one in tmp_path.iterdir()] == ["h.jsonl"]


@pytest.mark.parametrize(
    "line",
    [
        {"sequence": 1, "kind": "measured", "at": "", "body": {}},
        {"sequence": True, "kind": "started", "at": "", "body": {}},
        {"sequence": 1, "kind": "deleted", "at": "", "body": {}},
        {"sequence": 1, "kind": "started", "at": "", "body": []},
        {"kind": "started"},
    ],
)
def test_a_line_that_is_no_entry_is_damaged_even_with_a_good_checksum(tmp_path: Path, line: dict[str, object]) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(module._written(line))
    assert len(History(path).read().damaged) == 1


def test_a_clock_that_steps_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([datetime(2026, 5, 2, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC)])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return next(times)

    monkeypatch.setattr(module, "datetime", Clock)
    history = History(tmp_path / "h.jsonl")
    for tg in (8.0, 9.0, 10.0):
        history.append("measured", body(tg))
    found = history.read()
    assert [one.record.tg_tps for one in found.measured()] == [8.0, 9.0, 10.0]
    assert found.find("last").record.tg_tps == 10.0
    assert found.stepped_back == (2,)


def test_lines_that_were_put_in_another_order_are_damaged(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    for tg in (8.0, 9.0):
        history.append("measured", body(tg))
    first, second = history.path.read_bytes().splitlines(keepends=True)
    history.path.write_bytes(second + first)
    assert [one.record.tg_tps for one in history.read().measured()] == [9.0]


def test_several_processes_append_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    code = (
        "import sys; from pillm.performance.history import History\n"
        "for n in range(10): History(sys.argv[1]).append('started', {'n': n})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    found = History(path).read()
    assert [one.sequence for one in found.entries] == list(range(1, 31))
    assert found.damaged == ()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"folder\.jsonl cannot be read"):
        History(tmp_path / "folder.jsonl").append("started", {})


def test_a_record_of_a_newer_pillm_is_refused_by_its_number(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    history.append("measured", body(version=99))
    with pytest.raises(DataError, match="entry 1 is a record of version 99"):
        list(history.read().measured())


def test_the_users_own_history_stands_where_data_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_history() == tmp_path / "pillm/bench/history.jsonl"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_history() == tmp_path / ".local/share/pillm/bench/history.jsonl"


def test_every_line_can_be_read_by_another_program(tmp_path: Path) -> None:
    history = History(tmp_path / "h.jsonl")
    history.append("measured", body())
    assert set(json.loads(history.path.read_text("utf-8"))) == {"sequence", "kind", "at", "body", "checksum"}
