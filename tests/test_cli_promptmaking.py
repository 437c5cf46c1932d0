"""`pillm data prompts` and `pillm data expand`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pillm
from pillm.testing import FakeOpenAIServer, Reply

if TYPE_CHECKING:
    from tests.conftest import Cli

TASK = """
name: moods
input: "{{ text }}"
generation: {temperature: 0.3, stop: END}
where: {level: {max: 3}}
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(TASK, "utf-8")
    return tmp_path / "task.yaml"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("text,level\nun,1\ndeux,5\ntrois,3\nquatre,\n", "utf-8")
    return tmp_path / "t.csv"


def test_a_table_becomes_prompts_that_label_reads(cli: Cli, fakes: Path, task: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "prompts.jsonl"
    done = cli("data", "prompts", task, table, "--out", out)
    assert done.code == 0, done.err
    assert "2 prompts of 4 items of t.csv" in done.out
    assert "1 left out: level above 3" in done.out
    assert "1 left out: level missing" in done.out
    assert "pillm label" in done.err
    assert "-o temperature=0.3 -o stop=END" in done.err
    assert [prompt.text for prompt in pillm.read_prompts(out)] == ["un", "trois"]
    assert cli("label", out, "--teacher", "echo", "--out", tmp_path / "label").code == 0


def test_the_counts_are_one_document_and_balance(cli: Cli, task: Path, table: Path, tmp_path: Path) -> None:
    done = cli("data", "prompts", task, table, "--out", tmp_path / "p.jsonl", "--json").json
    assert done == {
        "rows": 4, "items": 4, "prompts": 2, "left_out": {"level above 3": 1, "level missing": 1}, "balanced": True,
        "source": "t.csv", "generation": {"temperature": 0.3, "stop": "END"}, "file": str(tmp_path / "p.jsonl"),
    }  # fmt: skip
    few = cli("data", "prompts", task, table, "--out", tmp_path / "p.jsonl", "--limit", 1, "--json").json
    assert (few["prompts"], few["rows"], few["balanced"]) == (1, 1, True)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("text\nun\n", 2, "has no column 'level'"),
        ("text,level\nun,low\n", 2, "t.csv:2: 'level' must be a number"),
        ("text,level\nun,9\n", 2, "no row of t.csv is used"),
        ("text,level\nun,1\ndeux\n", 2, "t.csv:3: the row has 1 cells"),
        ("", 2, "t.csv is empty"),
    ],
)
def test_a_table_that_does_not_fit_leaves_no_file(
    cli: Cli, task: Path, table: Path, tmp_path: Path, text: str, code: int, said: str
) -> None:
    table.write_text(text, "utf-8")
    done = cli("data", "prompts", task, table, "--out", tmp_path / "p.jsonl")
    assert done.code == code
    assert said in done.err
    assert not (tmp_path / "p.jsonl").exists()


def test_a_table_is_never_written_over(cli: Cli, task: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "level": 1}\n', "utf-8")
    done = cli("data", "prompts", task, tmp_path / "t.jsonl", "--out", tmp_path / "t.jsonl")
    assert (done.code, "is the table itself" in done.err) == (2, True)


def test_an_address_that_nobody_reads_is_told(cli: Cli, fakes: Path, task: Path, tmp_path: Path) -> None:
    done = cli("data", "prompts", task, "hf://acme/rows", "--out", tmp_path / "p.jsonl")
    assert (done.code, "pip install pillm-hf" in done.err) == (4, True)


def test_seeds_are_expanded_once(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "openai")
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"id": "a", "user": "what is the weather", "language": "en"}\n', "utf-8")
    said = json.dumps({"prompts": ["will it snow", "What is the weather?"]})
    with FakeOpenAIServer(respond=lambda _: Reply.text(said)) as server:
        words = ("data", "expand", seeds, "--teacher", "openai", "-o", "model=m", "-o", f"base_url={server.base_url}", "--n", 2)
        done = cli(*words, "--out", tmp_path / "more", "--json")
        assert done.code == 0, done.err
        assert done.json == {
            "seeds": 1, "unanswered": 0, "texts": 2, "new": 1, "left_out": {"equal": 1}, "balanced": True,
            "file": str(tmp_path / "more" / "prompts.jsonl"),
        }  # fmt: skip
        again = cli(*words, "--out", tmp_path / "more")
        assert "1 new prompts of 2 texts from 1 seeds, 1 equal" in again.out
        assert len(server.calls) == 1
    assert [row.parents for row in pillm.read_prompts(tmp_path / "more" / "prompts.jsonl")] == [("a",)]


def test_an_expansion_that_could_go_on_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "openai")
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"id": "a", "user": "what is the weather"}\n{"id": "b", "user": "read my mail"}\n', "utf-8")
    replies = [Reply.text(json.dumps({"prompts": ["will it snow"]})), Reply(status=500, body={"error": {"message": "no"}})]
    with FakeOpenAIServer(replies) as server:
        words = ["data", "expand", seeds, "--teacher", "openai", "-o", "model=m", "-o", f"base_url={server.base_url}"]
        done = cli(*words, "-o", "concurrency=1", "-o", "max_retries=0", "--out", tmp_path / "more")
    assert (done.code, "1 new prompts" in done.out) == (5, True), done.err


def test_a_template_of_ones_own_that_is_wrong_is_told(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text('{"user": "a"}\n', "utf-8")
    for text, said in (("{{ seed.x() }}", "a template shows columns"), ("{{ other }}", "'other' is undefined")):
        (tmp_path / "t.jinja").write_text(text, "utf-8")
        words = ("--teacher", "echo", "--template", tmp_path / "t.jinja", "--out", tmp_path / "o")
        done = cli("data", "expand", tmp_path / "seeds.jsonl", *words)
        assert (done.code, said in done.err) == (2, True), done.err
