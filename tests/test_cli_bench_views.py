"""`pillm bench compare` and `pillm bench history`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pillm.artifacts import Benchmark, to_json
from pillm.performance.history import History
from pillm.performance.preflight import Conditions

if TYPE_CHECKING:
    from tests.conftest import Cli


def record(**more: Any) -> Benchmark:
    facts: dict[str, Any] = {
        "model": "m.gguf", "device": "pi4", "basis": "measured", "pp_tps": 40.0, "tg_tps": 8.0, "threads": 4, "load_ms": 20.0,
        "samples": {"pp_tps": [40.0, 40.1, 40.0], "tg_tps": [8.0, 8.1, 8.05]},
    }  # fmt: skip
    return Benchmark(**facts | more)


@pytest.fixture
def history(tmp_path: Path) -> History:
    kept = History(tmp_path / "h.jsonl")
    slower = record(tg_tps=6.0, samples={"pp_tps": [40.0, 40.1, 40.0], "tg_tps": [6.0, 6.1, 6.05]})
    for one in (record(), slower, record(threads=2), record(void=("prefill is spread by 9.0%",), tg_tps=3.0)):
        kept.append("measured", {"of": 0, "record": to_json(one)})
    kept.append("baseline", {"of": 1, "name": "release"})
    return kept


def test_two_measurements_are_compared_with_a_sentence(cli: Cli, history: History) -> None:
    done = cli("bench", "compare", "release", "2", "--history", history.path)
    assert done.code == 0
    assert done.out.startswith("Decode is 24.8% slower (8.05 to 6.05 t/s")
    assert "worse" in done.out
    document = cli("bench", "compare", "1", "2", "--history", history.path, "--json").json
    assert [one["word"] for one in document["changes"]][:2] == ["worse", "the same"]


def test_records_in_files_are_compared(cli: Cli, tmp_path: Path) -> None:
    for name, tg in (("a.json", 8.0), ("b.json", 9.0)):
        (tmp_path / name).write_text(json.dumps(to_json(record(tg_tps=tg, samples={}))), "utf-8")
    assert "12.5% faster" in cli("bench", "compare", tmp_path / "a.json", tmp_path / "b.json").out


@pytest.mark.parametrize(("other", "reason"), [("3", "threads 4, not 2"), ("4", "number 4 of h.jsonl is void"), ("9", "no m")])
def test_what_may_not_be_compared_is_refused_by_name(cli: Cli, history: History, other: str, reason: str) -> None:
    done = cli("bench", "compare", "1", other, "--history", history.path)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err


def test_the_history_shows_each_series_with_its_trend(cli: Cli, history: History) -> None:
    done = cli("bench", "history", "--history", history.path)
    assert "m.gguf on pi4, 4 threads" in done.out
    assert "m.gguf on pi4, 2 threads" in done.out
    assert "decode █▁" in done.out
    assert "release" in done.out
    assert "void: prefill is spread by 9.0%" in done.out
    assert "holds no measurement of n.gguf" in cli("bench", "history", "n.gguf", "--history", history.path).out


def test_the_table_has_the_columns_that_other_tools_know(cli: Cli, history: History) -> None:
    words = ("bench", "history", "m.gguf", "--csv", "--history", history.path)
    lines = cli(*words).out.splitlines()
    assert lines[0] == "timestamp,tokens_per_second,init_ms,decode_ms_per_token,embed_ms,model,sha256,device,threads,void"
    assert [line.partition(",")[2] for line in lines[1:]] == [
        "8.00,20.00,125.00,,m.gguf,,pi4,4,", "6.00,20.00,166.67,,m.gguf,,pi4,4,", "8.00,20.00,125.00,,m.gguf,,pi4,2,",
    ]  # fmt: skip
    void = cli(*words, "--void").out.splitlines()
    assert (len(void), void[4].rpartition(",")[2]) == (5, "prefill is spread by 9.0%")


def test_what_is_wrong_with_a_history_is_said_and_changes_nothing(cli: Cli, history: History) -> None:
    history.append("started", {"about": {"model": "m.gguf"}})
    history.path.write_bytes(history.path.read_bytes() + b"rubbish\n")
    before = history.path.read_bytes()
    done = cli("bench", "history", "--history", history.path)
    assert "h.jsonl:7 is damaged" in done.err
    assert "Number 6 (m.gguf) was not finished" in done.err
    assert history.path.read_bytes() == before


def test_what_was_not_finished_is_not_told_once_something_else_was_measured(cli: Cli, history: History) -> None:
    history.append("started", {"about": {"model": "m.gguf"}})
    number = history.append("started", {"about": {"model": "m.gguf"}})
    history.append("interrupted", {"of": number, "reason": "Ctrl-C", "timed": True, "samples": {"pp8": [1.0]}})
    words = ("bench", "history", "--history", history.path)
    assert "Number 6 (m.gguf) was not finished" in cli(*words).err
    assert "Number 7 ended early (Ctrl-C); 1 samples of it are kept." in cli(*words).err
    history.append("measured", {"of": 0, "record": to_json(record())})
    done = cli(*words)
    assert "Number" not in done.err
    document = cli(*words, "--json").json
    assert (document["unfinished"], document["interrupted"]) == ([6], [7])


def test_an_imported_record_is_shown_at_its_own_time_and_an_emulated_one_apart(cli: Cli, tmp_path: Path) -> None:
    kept = History(tmp_path / "h.jsonl")
    for more in ({"at": "2025-02-03T04:05:06+01:00"}, {"at": "[red]yesterday"}, {"basis": "emulated", "tg_tps": 0.5}):
        kept.append("measured", {"record": to_json(record(**more))})
    shown = cli("bench", "history", "--history", kept.path).out
    assert "2025-02-03 03:05:06" in shown
    assert "yesterday" not in shown
    assert "m.gguf on pi4, 4 threads, emulated" in shown
    assert "decode ▅▅ " in shown, "the emulated one is no part of the measured trend"


def test_a_file_that_is_no_history_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk\neggs\n")
    done = cli("bench", "history", "--history", tmp_path / "notes.txt")
    assert (done.code, done.out) == (2, "")
    assert "notes.txt is no history of measurements" in done.err


def test_without_a_history_there_is_nothing_to_show(cli: Cli) -> None:
    assert "holds no measurement" in cli("bench", "history").out


def test_what_was_not_alike_is_named_in_comparison_and_history(cli: Cli, tmp_path: Path) -> None:
    kept = History(tmp_path / "h.jsonl")
    for build in ("llama.cpp 1", "llama.cpp 2"):
        kept.append("measured", {"of": 0, "record": to_json(record(build=build))})
    compared = cli("bench", "compare", "1", "2", "--history", kept.path)
    assert "Not alike: another build: llama.cpp 1, then llama.cpp 2." in compared.out
    assert cli("bench", "compare", "1", "2", "--history", kept.path, "--json").json["caveats"]
    assert "another build" in cli("bench", "history", "--history", kept.path).out


def test_a_file_made_anew_under_its_old_name_has_a_line_of_its_own(cli: Cli, tmp_path: Path) -> None:
    kept = History(tmp_path / "h.jsonl")
    for letter in "aab":
        kept.append("measured", {"of": 0, "record": to_json(record(sha256=letter * 64))})
    shown = cli("bench", "history", "--history", kept.path).out
    assert f"m.gguf ({'a' * 12}) on pi4" in shown
    assert f"m.gguf ({'b' * 12}) on pi4, 4 threads: another file than {'a' * 12}, which had this name before" in shown


def test_two_boards_of_one_kind_are_told_apart_by_a_hash(cli: Cli, tmp_path: Path) -> None:
    kept = History(tmp_path / "h.jsonl")
    for name in ("f00d", "beef"):
        kept.append("measured", {"of": 0, "record": to_json(record(conditions=Conditions(model="Pi 4", machine_id=name)))})
    shown = cli("bench", "history", "--history", kept.path).out
    assert "on pi4 (Pi 4), machine f00d" in shown
    assert "on pi4 (Pi 4), machine beef" in shown


def test_what_timed_nothing_is_not_shown_on_every_later_call(cli: Cli, history: History) -> None:
    number = history.append("started", {"about": {"model": "m.gguf"}})
    history.append(
        "interrupted", {"of": number, "reason": "pi@shed cannot be reached. Wake it.", "timed": False, "samples": {}}
    )
    words = ("bench", "history", "--history", history.path)
    assert f"The last one, number {number}, timed nothing (pi@shed cannot be reached)." in cli(*words).err
    history.append("measured", {"of": 0, "record": to_json(record())})
    assert "cannot be reached" not in cli(*words).err
    assert cli(*words, "--json").json["refused"] == [number]
