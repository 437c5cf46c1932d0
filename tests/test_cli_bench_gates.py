"""A measurement is recorded first and judged then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.errors import DataError
from pillm.performance.history import History
from pillm.testing import TableSession

if TYPE_CHECKING:
    from tests.conftest import Cli


BUSY = ("--max-spread", "9")
"""What lets a measurement count on a machine on which tests run beside each other."""


@pytest.fixture
def model(fakes: Path, tmp_path: Path) -> Path:
    path = tmp_path / "student-Q8_0.table"
    path.write_text("{}", "utf-8")
    return path


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "h.jsonl")


def test_a_gate_that_is_not_met_exits_with_3_and_the_record_is_in_the_history(cli: Cli, model: Path, history: History) -> None:
    done = cli("bench", model, *BUSY, "--history", history.path, "--gate", "tg_tps>=1e12", "--gate", "bytes<=1MB")
    assert done.code == 3
    assert "tg_tps>=1e12" in done.err
    assert "The record is kept" in done.err
    assert "bytes<=1MB: 2 B: met." in done.out
    assert [one.sequence for one in history.read().measured()] == [2]


@pytest.mark.parametrize(
    "words", [("--gate", "tg_tps>=1e12"), ("--baseline", "release"), ("--gate", "load_ms<=1"), ("--gate", "embed_ms<=1")]
)
def test_a_gate_that_could_never_fail_is_refused_before_anything_is_timed(
    cli: Cli, model: Path, history: History, words: tuple[str, str]
) -> None:
    assert cli("bench", model, *BUSY, "--history", history.path, "--save-baseline", "release").code == 0
    before = history.path.read_bytes()
    done = cli("bench", model, "--history", history.path, "--repetitions", "2", *words)
    assert (done.code, done.out) == (2, "")
    assert history.path.read_bytes() == before


def test_what_is_unsure_fails_where_that_is_asked_for(cli: Cli, model: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6, "rows": 9}
    scores.write_text(json.dumps({"evaluations": [{"subject": model.name, "metrics": {"exact": figure}}]}), "utf-8")
    words = ("bench", model, *BUSY, "--no-history", "--evaluation", scores, "--gate", "exact>=0.55")
    assert cli(*words).code == 0
    done = cli(*words, "--unsure", "fail")
    assert done.code == 3
    assert "so it fails. It is not kept (--no-history)." in done.err
    assert "record is kept" not in done.err


def test_what_was_not_alike_in_the_baseline_is_named(cli: Cli, model: Path, tmp_path: Path) -> None:
    record = cli("bench", model, *BUSY, "--no-history", "--json").json
    samples = {**record["samples"], "pp_tps": [record["pp_tps"]] * 5}
    (tmp_path / "a.json").write_text(json.dumps({**record, "runner": "another", "samples": samples}), "utf-8")
    words = ("bench", model, *BUSY, "--no-history", "--baseline", tmp_path / "a.json", "--tolerance", "1")
    assert "Not alike: runner another, then table." in cli(*words).out
    assert cli(*words, "--json").json["caveats"] == ["runner another, then table"]


def test_gates_that_are_met_exit_with_0_and_stand_in_the_document(cli: Cli, model: Path, history: History) -> None:
    done = cli("bench", model, *BUSY, "--history", history.path, "--gate", "tg_tps>=1", "--json")
    assert done.code == 0
    assert [one["outcome"] for one in done.json["gates"]] == ["met"]


def test_a_gate_that_cannot_be_checked_is_refused_before_anything_is_timed(cli: Cli, model: Path, history: History) -> None:
    for words in (["--gate", "tg_tps>=1 of baseline"], ["--gate", "exact>=0.9"], ["--gate", "fast"], ["--baseline", "nightly"]):
        assert cli("bench", model, "--history", history.path, *words).code == 2
    assert history.read().entries == ()


def test_a_named_baseline_is_compared_with(cli: Cli, model: Path, history: History) -> None:
    assert cli("bench", model, *BUSY, "--history", history.path, "--save-baseline", "release").code == 0
    done = cli("bench", model, *BUSY, "--history", history.path, "--baseline", "release", "--tolerance", "0.99", "--json")
    assert done.code == 0
    assert set(done.json["baseline"]) == {"pp_tps", "tg_tps"}
    assert [one["demand"] for one in done.json["gates"]] == ["pp_tps>=0.01 of baseline", "tg_tps>=0.01 of baseline"]


def test_a_baseline_has_a_word_for_a_name(cli: Cli, model: Path, history: History) -> None:
    for name in ("last", "12", " "):
        assert cli("bench", model, "--history", history.path, "--save-baseline", name).code == 2
    assert cli("bench", model, "--no-history", "--save-baseline", "a").code == 2
    seldom = cli("bench", model, "--history", history.path, "--save-baseline", "a", "--repetitions", "2")
    assert (seldom.code, history.read().entries) == (2, ())


def test_another_content_under_the_same_name_is_refused_unless_asked_for(cli: Cli, model: Path, history: History) -> None:
    cli("bench", model, *BUSY, "--history", history.path, "--save-baseline", "release")
    model.write_text('{"a": "b"}', "utf-8")
    words = ("bench", model, *BUSY, "--history", history.path, "--baseline", "release", "--tolerance", "1")
    refused = cli(*words)
    assert refused.code == 2
    assert "--across model" in refused.err
    assert cli(*words, "--across", "model").code == 0


def test_a_void_baseline_is_refused_before_anything_is_timed(cli: Cli, model: Path, history: History, tmp_path: Path) -> None:
    record = cli("bench", model, "--no-history", "--json").json
    samples = {**record["samples"], "pp_tps": [record["pp_tps"]] * 5}
    changed = {"void": ["7 pages were swapped meanwhile"], "samples": samples}
    (tmp_path / "void.json").write_text(json.dumps({**record, **changed}), "utf-8")
    done = cli("bench", model, "--history", history.path, "--baseline", tmp_path / "void.json")
    assert done.code == 2
    assert "void.json is void (7 pages were swapped meanwhile)" in done.err
    assert history.read().entries == ()


def test_scores_of_an_evaluation_are_gates_too(cli: Cli, model: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6, "rows": 9}
    scores.write_text(json.dumps({"evaluations": [{"subject": model.name, "metrics": {"exact": figure}}]}), "utf-8")
    words = ("bench", model, *BUSY, "--no-history", "--evaluation", scores, "--gate")
    assert [cli(*words, gate).code for gate in ("exact>=0.3", "exact>=0.55", "exact>=0.9")] == [0, 0, 3]
    scores.write_text("[]", "utf-8")
    assert cli(*words, "exact>=0.3").code == 2


def test_scores_of_another_subject_are_not_taken_for_the_files(cli: Cli, model: Path, tmp_path: Path, history: History) -> None:
    scores = tmp_path / "ev.json"
    exact = {"exact": {"mean": 0.99, "low": 0.98, "high": 1.0, "rows": 9}}
    words = ("bench", model, *BUSY, "--history", history.path, "--evaluation", scores, "--gate", "exact>=0.9")
    for subjects in (["teacher-gpt"], [f"a/{model.name}", f"b/{model.name}"], [f"{model.name}.old"]):
        scores.write_text(json.dumps({"evaluations": [{"subject": one, "metrics": exact} for one in subjects]}), "utf-8")
        done = cli(*words)
        assert (done.code, done.out) == (2, "")
        assert f"--evaluation has no scores of {model.name} by that name, or two of them" in done.err
        assert subjects[0] in done.err
    assert history.read().entries == ()
    scores.write_text(json.dumps({"subject": f"runs/a/{model.name}", "metrics": exact}), "utf-8")
    assert cli(*words).code == 0


def test_a_measurement_that_does_not_count_or_does_not_pass_is_no_baseline(
    cli: Cli, model: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("bench", model, "--history", history.path, "--save-baseline", "release")
    missed = cli(*words, *BUSY, "--gate", "tg_tps>=1e12")
    assert missed.code == 3
    timed = TableSession.bench
    monkeypatch.setattr(TableSession, "bench", lambda self, plan: replace(timed(self, plan), void=("it was hot",)))
    void = cli(*words, *BUSY)
    assert void.code == 5
    assert "it is void (it was hot), so it is not called 'release'; it is kept as number 4" in void.err
    assert "t/s" in void.out
    assert [one.kind for one in history.read().entries] == ["started", "measured"] * 2


def test_a_record_is_named_by_its_file_or_in_a_history(tmp_path: Path) -> None:
    from pillm.cli.bench_gates import record_of

    with pytest.raises(DataError, match="without a history it names nothing"):
        record_of("nightly", None)
