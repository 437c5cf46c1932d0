"""`pillm label`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pillm.testing import FakeOpenAIServer, Reply

if TYPE_CHECKING:
    from tests.conftest import Cli

import pytest


def test_rows_are_labelled_and_balance(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert done.json["rows"] == {"in": 3, "answered": 3, "rejected": 0, "failed": 0, "pending": 0}
    assert done.json["balanced"] is True
    assert len(Path(done.json["labelled"]).read_text("utf-8").splitlines()) == 3


def test_the_same_command_is_up_to_date(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    words = ("label", rows, "--teacher", "echo", "--out", tmp_path / "out")
    cli(*words)
    again = cli(*words)
    assert again.code == 0
    assert "up to date" in again.err


def test_a_dry_run_says_what_would_be_asked_and_writes_nothing(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--dry-run", "--json")
    assert (done.json["rows"], done.json["given"], done.json["to_ask"]) == (3, 1, 2)
    assert not (tmp_path / "out").exists()
    assert "2 would be asked" in cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--dry-run").out


def test_limit_tries_a_few_rows(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    assert (
        cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--limit", "1", "--json").json["rows"]["pending"]
        == 1
    )


def test_relabel_asks_for_rows_that_arrive_answered(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "kept")
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "new", "--relabel")
    answers = [
        [
            json.loads(line)["messages"][-1]["content"]
            for line in (tmp_path / name / "labelled.jsonl").read_text("utf-8").splitlines()
        ]
        for name in ("kept", "new")
    ]
    assert answers == [["hello", "salut", "hi"], ["hello", "bonjour", "hi"]]


def test_failed_rows_are_told_of_and_asked_again_on_request(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    words = ("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "-o", "fails=hello")
    first = cli(*words)
    assert first.code == 0
    assert "1 failed" in first.out
    assert "--retry failed" in first.err
    assert "hello" in (tmp_path / "out" / "failed.jsonl").read_text("utf-8")
    assert cli(*words, "--retry", "failed", "--json").json["rows"]["failed"] == 1


def test_nothing_answered_is_a_failure(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"user": "hello", "schema": {"type": "object"}}\n', "utf-8")
    done = cli("label", path, "--teacher", "echo", "--out", tmp_path / "out")
    assert done.code == 1
    assert "no row was answered" in done.err
    assert "rejected.jsonl" in done.err


def test_rows_that_a_filter_leaves_out_are_counted_as_rejected(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    words = ("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--filter")
    assert "'word'" in cli(*words, "drop").err  # it needs an option
    assert cli(*words, "drop:word=hello", "--json").json["rows"]["rejected"] == 1


def test_the_schema_may_stand_in_the_prompt(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"user": "{}", "schema": {"type": "object"}}\n', "utf-8")
    keys = []
    for how in ("none", "text"):
        cli("label", path, "--teacher", "echo", "--out", tmp_path / how, "--schema-in-prompt", how)
        keys.append(json.loads((tmp_path / how / "labelled.jsonl").read_text("utf-8"))["provenance"]["key"])
    assert keys[0] != keys[1]


@pytest.mark.usefixtures("_no_plugins_but_openai")
def test_label_asks_a_real_server(cli: Cli, rows: Path, tmp_path: Path) -> None:
    with FakeOpenAIServer() as server:
        options = ["-o", "model=fake", "-o", f"base_url={server.base_url}"]
        done = cli("label", rows, "--teacher", "openai", *options, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert done.json["rows"]["answered"] == 3


@pytest.fixture
def _no_plugins_but_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "for-a-test")


def test_a_cap_is_kept_and_the_next_run_goes_on(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    capped = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--max-tokens", "2")
    assert capped.code == 5
    assert "max_tokens 2): 2 tokens for $0.0000 are spent" in capped.err
    assert "Raise the cap" in capped.err
    again = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--json")
    assert (again.code, again.json["rows"]["answered"]) == (0, 3)


def test_answers_of_another_run_serve(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    cli("label", rows, "--teacher", "echo", "--out", tmp_path / "one")
    words = ("label", rows, "--teacher", "echo", "--out", tmp_path / "two", "--reuse", tmp_path / "one", "--dry-run", "--json")
    assert cli(*words).json["to_ask"] == 0
    assert cli(*words[:-2]).code == 0
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    refused = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "three", "--reuse", nothing)
    assert (refused.code, "holds no answers.sqlite" in refused.err) == (2, True)


def test_only_takes_the_states_that_there_are(cli: Cli, fakes: Path, rows: Path, tmp_path: Path) -> None:
    done = cli("label", rows, "--teacher", "echo", "--out", tmp_path / "out", "--only", "failed,odd")
    assert done.code == 2
    assert "odd is not one of failed, rejected, pending" in done.err


def test_rows_that_all_failed_for_a_passing_reason_are_asked_again_by_the_same_command(
    cli: Cli, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with FakeOpenAIServer(respond=lambda _: Reply(status=500)) as server:
        words = ("-o", "model=m", "-o", f"base_url={server.base_url}", "-o", "max_retries=0", "--relabel")
        done = cli("label", rows, "--teacher", "openai", *words, "--out", tmp_path / "out")
    assert done.code == 5
    assert "the same command asks only for these again" in done.err
