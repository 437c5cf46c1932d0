"""`pillm bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.testing import TableSession

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def model(fakes: Path, tmp_path: Path) -> Path:
    """Write a model of the fake runner."""
    path = tmp_path / "student-Q8_0.table"
    path.write_text("{}", "utf-8")
    return path


def test_prefill_and_decode_are_told_apart(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("bench", model, "--pp", "64", "--tg", "16", "--out", tmp_path / "record.json", "--json")
    assert done.json["basis"] == "measured"
    assert (done.json["pp"], done.json["tg"]) == (64, 16)
    assert json.loads((tmp_path / "record.json").read_text("utf-8")) == done.json


def test_slower_than_the_baseline_ends_with_3(cli: Cli, model: Path, tmp_path: Path) -> None:
    record = cli("bench", model, *BUSY, "--json").json
    for name, speed, code in (("fast.json", 1e12, 3), ("slow.json", 1e-3, 0)):
        samples = dict.fromkeys(("pp_tps", "tg_tps"), [speed] * 3)
        (tmp_path / name).write_text(json.dumps({**record, "tg_tps": speed, "pp_tps": speed, "samples": samples}), "utf-8")
        done = cli("bench", model, *BUSY, "--baseline", tmp_path / name)
        assert done.code == code
        assert ("slower than the baseline: tg_tps" in done.err) == bool(code)


BUSY = ("--max-spread", "9")
"""What lets a measurement count on a machine on which tests run beside each other."""
RECORD = {"model": "student-Q8_0.table", "device": "here", "basis": "measured", "pp_tps": 1e-3, "tg_tps": 1e-3,
          "samples": {"pp_tps": [1e-3] * 3, "tg_tps": [1e-3] * 3}}  # fmt: skip
NO_RECORDS = {
    "other keys": '{"speed": 1}',
    "no JSON": "[",
    "a list": "[]",
    "a speed that is text": json.dumps({**RECORD, "pp_tps": "x"}),
    "a speed of nothing": json.dumps({**RECORD, "tg_tps": 0}),
    "another model": json.dumps({**RECORD, "model": "student-Q4_0.table"}),
    "another prefill": json.dumps({**RECORD, "pp": 64}),
    "another decode": json.dumps({**RECORD, "tg": 64}),
    "other threads": json.dumps({**RECORD, "threads": 3}),
    "timed once": json.dumps({**RECORD, "samples": {}}),
    "a number that is not finite": json.dumps({**RECORD, "pp_tps": 1.0}).replace('"pp_tps": 1.0', '"pp_tps": 1e400'),
}


@pytest.mark.parametrize("case", NO_RECORDS)
def test_a_baseline_that_cannot_be_compared_is_refused_before_anything_is_timed(
    cli: Cli, model: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "x.json").write_text(NO_RECORDS[case], "utf-8")
    done = cli("bench", model, "--baseline", tmp_path / "x.json", "--threads", "2")
    assert (done.code, done.out) == (2, "")
    assert "x.json" in done.err
    assert "bench:" not in done.err


def test_a_baseline_of_another_device_is_not_compared(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({**RECORD, "device": "a Raspberry Pi"}), "utf-8")
    done = cli("bench", model, *BUSY, "--baseline", tmp_path / "x.json")
    assert done.code == 2
    assert "t/s" in done.out  # what was measured is not lost
    assert "times the baseline" not in done.out
    assert "device a Raspberry Pi, not here" in done.err


def test_a_runner_that_cannot_read_the_model_is_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    missing = cli("bench", tmp_path / "x.gguf")
    assert missing.code == 4
    assert "pip install" in missing.err
    assert cli("bench", tmp_path / "x.gguf", "--runner", "table").code == 2


def test_the_verb_may_be_left_out_or_said(cli: Cli, model: Path) -> None:
    for words in (["bench", model], ["bench", "time", model], ["bench", "--pp", "8", model]):
        assert cli(*words, "--no-history").code == 0
    assert "history" in cli("bench", "--help").out


def test_a_measurement_is_kept_where_the_users_data_is(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert "Kept as number 2" in cli("bench", model).err
    assert (tmp_path / "data/pillm/bench/history.jsonl").is_file()
    cli("bench", model, "--no-history")
    assert "Kept" not in cli("bench", model, "--no-history").err


def test_a_damaged_history_is_moved_aside_and_said(cli: Cli, model: Path, tmp_path: Path) -> None:
    hurt = '{"sequence": 1, "kind": "meas\n'
    (tmp_path / "h.jsonl").write_text(hurt, "utf-8")
    done = cli("bench", model, "--history", tmp_path / "h.jsonl")
    assert done.code == 0
    assert "h.damaged-1.jsonl" in done.err
    assert (tmp_path / "h.damaged-1.jsonl").read_text("utf-8") == hurt


def test_a_file_that_was_never_a_history_is_left_alone(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk\neggs\n", "utf-8")
    done = cli("bench", model, "--history", tmp_path / "notes.txt")
    assert done.code == 2
    assert "no history of measurements, and it is left alone" in done.err
    assert "t/s" not in done.out
    assert [one.name for one in sorted(tmp_path.iterdir()) if "notes" in one.name] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text("utf-8") == "milk\neggs\n"


def test_a_record_is_never_written_over(cli: Cli, model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "release.json"
    assert cli("bench", model, *BUSY, "--no-history", "--out", kept).code == 0
    before = kept.read_bytes()
    for words in (["--out", kept], ["--out", kept, "--baseline", kept]):
        done = cli("bench", model, *words, "--history", tmp_path / "h.jsonl")
        assert done.code == 2
        assert "release.json is there already, and a record is never written over" in done.err
    assert cli("bench", model, "--out", tmp_path / "h.jsonl", "--history", tmp_path / "h.jsonl").code == 2
    assert kept.read_bytes() == before
    assert not (tmp_path / "h.jsonl").exists()


def test_an_interruption_says_that_the_same_command_begins_anew(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TableSession, "bench", _interrupted)
    done = cli("bench", model, "--history", tmp_path / "h.jsonl")
    assert done.code == 130
    assert "begins anew" in done.err
    assert "resumes" not in done.err
    assert "Nothing is kept; a measurement is whole" in cli("bench", model, "--no-history").err


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_could_not_be_timed_is_said(cli: Cli, model: Path) -> None:
    done = cli("bench", model, "--no-history", "--depths", "512,2048")
    assert "not measured: pp512 @ d2048: runner 'table' does not time it" in done.out
    assert cli("bench", model, "--depths", "512,x").code == 2


def test_a_typo_leaves_nothing_in_the_history(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model", "utf-8")
    words = ([tmp_path / "nope.gguf"], [tmp_path / "text.gguf"], [model, "--runner", "tabel"], [model, "--device", "pi44"])
    for one in words:
        assert cli("bench", *one, "--history", tmp_path / "h.jsonl").code in (2, 4)
    assert not (tmp_path / "h.jsonl").exists()
