"""`pillm label --probe`."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.stages.training import train
from pillm.testing import TableTrainer, sample_examples

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parent.parent


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Write twenty rows whose truth is the question itself."""
    path = tmp_path / "asked.jsonl"
    lines = (json.dumps({"id": f"r{n}", "user": f"say {n}", "reference": f"say {n}"}) for n in range(20))
    path.write_text("\n".join(lines), "utf-8")
    return path


def calls(out: Path) -> int:
    with sqlite3.connect(out / "answers.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])


def test_go_ends_with_zero_and_the_labelling_pays_for_the_rest_only(cli: Cli, fakes: Path, asked: Path, tmp_path: Path) -> None:
    words = ("label", asked, "--teacher", "echo", "--out", tmp_path / "out")
    done = cli(*words, "--probe", "12")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == (
        "go: echo has exact 1.00 [0.76, 1.00] on 12 rows, and the lower bound is at least 0.5; no student base was probed."
    )
    assert "without --probe does not ask for them again" in done.err
    assert calls(tmp_path / "out") == 12
    assert cli(*words, "--json").json["rows"]["answered"] == 20
    assert calls(tmp_path / "out") == 20


def test_a_base_is_scored_beside_the_teacher(cli: Cli, fakes: Path, asked: Path, tmp_path: Path) -> None:
    student = train(sample_examples(), TableTrainer(), tmp_path / "student").path  # it knows none of these questions
    words = ("label", asked, "--teacher", "echo", "--out", tmp_path / "out", "--probe", "12")
    document = cli(*words, "--student", student, "--json").json
    assert (document["verdict"], document["decided_by"], document["rows"], document["asked"]) == ("go", "exact", 12, 12)
    assert list(document["scores"]) == ["teacher", "base", "truth"]
    exact = document["scores"]["teacher"]["metrics"]["exact"]
    assert (exact["mean"], round(exact["low"], 2), exact["high"], exact["rows"]) == (1, 0.76, 1, 12)
    assert document["scores"]["base"]["metrics"]["exact"]["mean"] == 0


def test_a_teacher_that_fails_ends_with_three(cli: Cli, fakes: Path, asked: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(asked.read_text("utf-8").replace('"reference": "say', '"reference": "sing'), "utf-8")
    words = ("label", path, "--teacher", "echo", "--out", tmp_path / "out", "--probe", "12")
    done = cli(*words)
    assert done.code == 3
    assert (
        "the teacher fails: echo has exact 0.00 [0.00, 0.24] on 12 rows, below 0.5. Probe more rows, choose another teacher"
        in done.err
    )
    assert "exact" in done.out  # the scores
    again = cli(*words, "--json")
    assert (again.code, again.json["verdict"], again.json["asked"]) == (3, "teacher fails", 0)


def test_a_base_that_does_it_already_ends_with_three(cli: Cli, fakes: Path, asked: Path, tmp_path: Path) -> None:
    cli("label", asked, "--teacher", "echo", "--out", tmp_path / "all")
    cli("train", tmp_path / "all" / "labelled.jsonl", "--trainer", "table", "--out", tmp_path / "student")
    words = ("--teacher", "echo", "--out", tmp_path / "out", "--probe", "12", "--student", tmp_path / "student")
    done = cli("label", asked, *words)
    assert done.code == 3
    assert "the base already does it: echo has exact 1.00 [0.76, 1.00] on 12 rows, the base student exact 1.00" in done.err
    assert "harder prompts" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--student", "nano-base"], "Give --probe 50 too"),
        (["--probe", "5", "--dry-run"], "Give one of them"),
        (["--probe", "5", "--student", "nowhere"], "nowhere is neither a model file"),
        (["--probe", "0"], "--probe"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_asked(
    cli: Cli, fakes: Path, asked: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = cli("label", asked, "--teacher", "echo", "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(120)
def test_the_shipped_teacher_is_worth_its_time_and_the_shipped_base_knows_nothing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pillm_hf")
    pytest.importorskip("pillm_nano")
    monkeypatch.setenv("PILLM_PLUGINS", "hf nano")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = ROOT / "dataset" / "assistant" / "prompts.jsonl"
    words = ("--teacher", "hf", "-o", "model=nano-teacher", "--student", "nano-base", "--probe", "50")
    done = cli("label", path, *words, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    document = done.json
    print(document["sentence"])
    assert document["scores"]["teacher"]["metrics"]["exact"]["mean"] > 0.7
    assert document["scores"]["base"]["metrics"]["exact"]["mean"] < 0.2
    assert calls(tmp_path / "out") == 50
