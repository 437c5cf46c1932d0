"""`pillm bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.cli.bench_command import _lines
from pillm.performance.benchmark import Benchmark, BenchWork, Point

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
    record = cli("bench", model, "--json").json
    fast = tmp_path / "fast.json"
    samples = {"tg_tps": [speed * 1000 for speed in record["samples"]["tg_tps"]]}
    fast.write_text(json.dumps({**record, "tg_tps": record["tg_tps"] * 1000, "samples": samples}), "utf-8")
    done = cli("bench", model, "--baseline", fast)
    assert done.code == 3
    assert "slower than the baseline: tg_tps" in done.err
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({**record, "tg_tps": 1e-3, "pp_tps": 1e-3}), "utf-8")
    assert cli("bench", model, "--baseline", slow).code == 0


RECORD = {"model": "student-Q8_0.table", "device": "here", "basis": "measured", "pp_tps": 1e-3, "tg_tps": 1e-3}
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
    done = cli("bench", model, "--baseline", tmp_path / "x.json")
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
    (tmp_path / "h.jsonl").write_text("rubbish\n", "utf-8")
    done = cli("bench", model, "--history", tmp_path / "h.jsonl")
    assert done.code == 0
    assert "h.damaged-1.jsonl" in done.err
    assert (tmp_path / "h.damaged-1.jsonl").read_text("utf-8") == "rubbish\n"


def test_what_could_not_be_timed_is_said(cli: Cli, model: Path) -> None:
    done = cli("bench", model, "--no-history", "--depths", "512,2048")
    assert "not measured: pp512 @ d2048: runner 'table' does not time it" in done.out
    assert cli("bench", model, "--depths", "512,x").code == 2


def test_an_encoder_s_lengths_are_all_told_beside_its_headline() -> None:
    works = [BenchWork(kind="pp", tokens=size) for size in (512, 32)]
    points = tuple(Point.of(work, [10.0, 11.0, 12.0]) for work in works)
    record = Benchmark(model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=0.0, tg=0, points=points)
    assert [line.split()[0] for line in _lines(record)[1:]] == ["pp32"]


def test_what_disturbed_a_long_run_is_said_beside_the_figures() -> None:
    record = Benchmark(
        model="m", device="d", basis="measured", pp_tps=11.0, tg_tps=1.0, disturbed={"sustained": ("the clock fell",)}
    )
    assert _lines(record)[1:] == ["  disturbed: sustained: the clock fell."]


def test_a_typo_leaves_nothing_in_the_history(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model", "utf-8")
    words = ([tmp_path / "nope.gguf"], [tmp_path / "text.gguf"], [model, "--runner", "tabel"], [model, "--device", "pi44"])
    for one in words:
        assert cli("bench", *one, "--history", tmp_path / "h.jsonl").code in (2, 4)
    assert not (tmp_path / "h.jsonl").exists()
