"""`pillm data prompts` and `pillm data expand`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pillm
from pillm.testing import FakeOpenAIServer, Reply, installed_plugin

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


RICH = """
name: moods
system: You judge moods.
input: "{{ text }}"
examples: [{input: I won, output: happy}]
answer: "{{ said|default('') }}"
group: "{{ level }}"
where: {level: {max: 3}}
"""


@pytest.mark.parametrize("flags", [(), ("--relabel",), ("--filter", "drop:word=deux"), ("--shard", "1/2"), ("--limit", 2)])
def test_label_with_a_task_gives_the_bytes_of_the_way_in_two_steps(
    cli: Cli, fakes: Path, task: Path, table: Path, tmp_path: Path, flags: tuple[object, ...]
) -> None:
    task.write_text(RICH, "utf-8")
    table.write_text("text,level,said\nun,1,\nun,1,\ndeux,2,zwei\ntrois,3,\nquatre,,\n", "utf-8")
    assert cli("data", "prompts", task, table, "--out", tmp_path / "p.jsonl").code == 0
    two = ("label", tmp_path / "p.jsonl", "--teacher", "echo", *flags, "--out")
    one = ("label", table, "--task", task, "--teacher", "echo", *flags, "--out")
    assert (cli(*two, tmp_path / "two").code, cli(*one, tmp_path / "one").code) == (0, 0)
    said = [(tmp_path / name / "labelled.jsonl").read_bytes() for name in ("one", "two")]
    assert said[0] == said[1] != b""
    assert flags[:1] == ("--limit",) or "up to date" in cli(*one, tmp_path / "two").err
    for words, bought in ((one, "two"), (two, "one")):  # what was bought in one way serves in the other
        assert cli(*words, tmp_path / "new", "--reuse", tmp_path / bought, "--dry-run", "--json").json["to_ask"] == 0


def test_label_with_a_task_tells_what_became_of_the_table(cli: Cli, fakes: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("name: t\ninput: '{{ text }}'\nwhere: {level: {max: 3}}\n", "utf-8")
    words = ("label", table, "--task", tmp_path / "task.yaml", "--teacher", "echo", "--out", tmp_path / "out")
    counts = {
        "rows": 4, "items": 4, "prompts": 2, "left_out": {"level above 3": 1, "level missing": 1}, "balanced": True,
        "source": "t.csv", "generation": {},
    }  # fmt: skip
    told = "2 prompts of 4 items of t.csv\n     1 left out: level above 3\n     1 left out: level missing\n"
    for more, mode, code in ((("--dry-run",), "to_ask", 0), (("--probe", 5), "verdict", 3), ((), "labelled", 0)):
        done = cli(*words, *more, "--json")
        assert (done.code, done.err.count(told), done.json["table"]) == (code, 1, counts), (more, done.err)
        assert mode in done.json
    again = cli(*words, "--json")
    assert (again.json["rows"]["in"], again.json["up_to_date"], again.json["table"]) == (2, True, counts)


def test_the_generation_of_a_task_reaches_the_teacher_unless_an_option_says_otherwise(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, task: Path, table: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "openai")
    task.write_text(TASK.replace("stop: END", "max_tokens: 60"), "utf-8")
    cli("data", "prompts", task, table, "--out", tmp_path / "p.jsonl")
    with FakeOpenAIServer(respond=lambda _: Reply.text("oui")) as server:
        words = ("--teacher", "openai", "-o", "model=m", "-o", f"base_url={server.base_url}", "--out", tmp_path / "out")
        done = cli("label", table, "--task", task, *words)
        assert done.code == 0, done.err
        assert [(call.body["temperature"], call.body["max_tokens"]) for call in server.calls] == [(0.3, 60)] * 2
        again = cli("label", tmp_path / "p.jsonl", *words, "-o", "temperature=0.3", "-o", "max_tokens=60")
        assert ("up to date" in again.err, len(server.calls)) == (True, 2)
        assert cli("label", table, "--task", task, *words, "-o", "temperature=0.7", "--limit", 1).code == 0
        assert [(call.body["temperature"], call.body["max_tokens"]) for call in server.calls[2:]] == [(0.7, 60)]


def test_an_option_of_a_task_that_the_teacher_lacks_is_refused_with_the_task(
    cli: Cli, fakes: Path, task: Path, table: Path, tmp_path: Path
) -> None:
    words = ("label", table, "--task", task, "--teacher", "echo", "--out", tmp_path / "out")
    done = cli(*words)
    assert done.code == 2
    assert "task.yaml: generation: teacher 'echo' has no option 'temperature'" in done.err
    own = cli(*words, "-o", "tempo=3", "-o", "temperature=1")
    assert (own.code, "generation" in own.err) == (2, False)  # the fault of the line, not of the task
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task_text", "text", "said"),
    [
        (None, "text\nun\n", "none.yaml' does not exist"),
        ("name: t\n", "text\nun\n", "task.yaml: the key 'input' is missing"),
        ("name: t\ninput: '{{ txt }}'\n", "text\nun\n", "t.csv has no column 'txt'. Did you mean 'text'? It has: text."),
        ("name: t\ninput: '{{ text }}'\n", "text\nun,deux\n", "t.csv:2: the row has 2 cells, the header 1"),
        ("name: t\ninput: '{{ text }}'\nwhere: {text: {min: 2}}\n", "text\nun\n", "t.csv:2: 'text' must be a number"),
        ("name: t\ninput: '{{ text }}'\nwhere: {text: {min: 2}}\n", "text\n1\n", "no row of t.csv is used"),
        ("name: t\ninput: '{{ text }}'\nid: a\n", "text\n1\n2\n", "t.csv:3: id 'a' stands already at t.csv:2"),
        ("name: t\ninput: '{{ text }}'\n", "", "t.csv is empty"),
    ],
)
def test_label_refuses_a_task_or_a_table_that_does_not_fit(
    cli: Cli, fakes: Path, table: Path, tmp_path: Path, task_text: str | None, text: str, said: str
) -> None:
    table.write_text(text, "utf-8")
    task = tmp_path / ("task.yaml" if task_text else "none.yaml")
    if task_text:
        task.write_text(task_text, "utf-8")
    for more in ((), ("--dry-run",), ("--probe", 2)):
        done = cli("label", table, "--task", task, "--teacher", "echo", "--out", tmp_path / "out", *more)
        assert (done.code, said in done.err) == (2, True), done.err
    assert not (tmp_path / "out" / "answers.sqlite").exists()


def test_label_tells_a_table_without_a_task_and_a_table_that_is_not_there(
    cli: Cli, fakes: Path, task: Path, table: Path, tmp_path: Path
) -> None:
    words = ("--teacher", "echo", "--out", tmp_path / "out")
    for source in (table, "hf://acme/rows"):
        done = cli("label", source, *words)
        assert (done.code, "is a table. Say with --task TASK.yaml" in done.err) == (2, True), done.err
    done = cli("label", tmp_path / "none.csv", "--task", task, *words)
    assert (done.code, "none.csv is not a file. Give a table" in done.err) == (2, True), done.err
    done = cli("label", tmp_path / "none.jsonl", *words)
    assert (done.code, "does not exist" in done.err) == (2, True), done.err


def test_label_reads_addresses_as_data_prompts_does(
    cli: Cli, fakes: Path, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--task", task, "--teacher", "echo", "--out", tmp_path / "out")
    done = cli("label", "hf://acme/rows", *words)
    assert (done.code, "pip install pillm-hf" in done.err) == (4, True)
    code = """
import pillm
@pillm.hookimpl
def pillm_tables():
    return {"acme": lambda text: pillm.Table(source=text + "@1", read=lambda: iter([("a:1", {"text": "un", "level": 2})]))}
"""
    task.write_text("name: t\ninput: '{{ text }}'\n", "utf-8")
    monkeypatch.setenv("PILLM_PLUGINS", "fakes,tables")
    with installed_plugin(tmp_path / "tables", "tables", code):
        done = cli("label", "acme://rows", *words)
    assert (done.code, "1 prompts of 1 items of acme://rows@1" in done.err) == (0, True), done.err


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
