"""`pillm chat`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.contract import Contract
from pillm.records import Prompt
from pillm.testing import installed_plugin
from pillm.testing.fakes import rendered

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.fixture
def model(fakes: Path, tmp_path: Path) -> Path:
    """Write a model that knows two sentences."""
    path = tmp_path / "student.table"
    path.write_text(
        json.dumps({"user: hello": "hi\nthere", "user: hello\nassistant: hi\nthere\nuser: again": "once more"}), "utf-8"
    )
    return path


def test_a_pipe_gets_one_answer_per_line(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nwhat?\n"))
    done = cli("chat", model)
    assert done.out == "hi there\n\n"
    assert done.err == ""


def test_json_gives_every_turn_as_it_was(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nagain\n"))
    assert cli("chat", model, "--memory", "--json").json == [
        {"prompt": "hello", "answer": "hi\nthere"},
        {"prompt": "again", "answer": "once more"},
    ]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # what stdin does depends on the locale
def test_a_line_that_is_not_utf_8_is_refused(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch, errors: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), "utf-8", errors))
    done = cli("chat", model)
    assert (done.code, done.out) == (2, "")
    assert "not UTF-8" in done.err


def test_a_terminal_is_asked_until_its_end(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = iter(["hello", ""])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: next(said, None) or _end())
    done = cli("chat", model)
    assert done.code == 0
    assert done.out == "hi\nthere\n"


def _end() -> str:
    raise EOFError


def test_a_model_that_is_not_there_is_named(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("chat", tmp_path / "nosuch.gguf")
    assert done.code == 2
    assert "nosuch.gguf" in done.err


SCHEMA = {"type": "object", "required": ["n"]}
HOLDING = """
from pydantic import Field
from pillm.hookspecs import hookimpl
from pillm.testing import TableRunner
class Holding(TableRunner):
    '''Can hold answers to a schema.'''
    name = "holding"
    constrain: bool = Field(False, description="Hold answers to the schema.")
@hookimpl
def pillm_runners():
    return [Holding]
"""


@pytest.fixture
def taught(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a model that was told a schema in its prompt, and schemas by name and as a file; say hello to it."""
    told = Contract(schema_in_prompt="text").messages(
        Prompt(id="a", messages=({"role": "user", "content": "hello"},), schema=SCHEMA)
    )
    path = tmp_path / "student.table"
    path.write_text(json.dumps({rendered(told): '{"n": 1}', f"system: Now.\n\n{rendered(told)[8:]}": '{"n": 2}'}), "utf-8")
    (tmp_path / "schemas").mkdir()
    for name in ("schemas/number.schema.json", "mine.json"):
        (tmp_path / name).write_text(json.dumps(SCHEMA), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    return path


@pytest.mark.parametrize("schema", ["number", "mine.json"])
def test_the_students_contract_decides_how_a_schema_is_told(cli: Cli, taught: Path, schema: str) -> None:
    Contract(schema_in_prompt="text").save(taught.parent / "contract.json")
    done = cli("chat", taught, "--schema", schema)
    assert (done.out, done.err) == ('{"n": 1}\n', "")


def test_another_system_message_leaves_the_schema_where_it_was_taught(cli: Cli, taught: Path) -> None:
    Contract(schema_in_prompt="text").save(taught.parent / "contract.json")
    assert cli("chat", taught, "--schema", "number", "--system", "Now.").out == '{"n": 2}\n'


def test_another_place_for_the_schema_leaves_the_system_message_as_it_was_taught(cli: Cli, taught: Path) -> None:
    Contract(system="Now.").save(taught.parent / "contract.json")
    assert cli("chat", taught, "--schema", "number", "--schema-in-prompt", "text").out == '{"n": 2}\n'


@pytest.mark.parametrize("content", ['{"a":', "[1]"])
def test_a_damaged_contract_is_named(cli: Cli, taught: Path, content: str) -> None:
    (taught.parent / "contract.json").write_text(content, "utf-8")
    done = cli("chat", taught)
    assert (done.code, "contract.json is damaged" in done.err) == (2, True)


def test_an_option_tells_the_schema_where_the_file_has_no_contract(cli: Cli, taught: Path) -> None:
    assert cli("chat", taught, "--schema", "number", "--schema-in-prompt", "text").out == '{"n": 1}\n'


def test_a_schema_that_changes_nothing_is_said(cli: Cli, taught: Path) -> None:
    assert "--schema changes nothing here" in cli("chat", taught, "--schema", "number").err


@pytest.mark.parametrize(("schema", "text"), [("nosuch", "no schema is called"), ("bad.json", "bad.json is not a JSON Schema")])
def test_a_schema_that_is_none_is_named(cli: Cli, taught: Path, schema: str, text: str) -> None:
    for content in ("[]", "{"):
        (taught.parent / "bad.json").write_text(content, "utf-8")
        done = cli("chat", taught, "--schema", schema)
        assert done.code == 2
        assert text in done.err


def test_a_constraint_without_a_schema_is_refused_with_the_remedy(
    cli: Cli, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "fakes,holding")
    with installed_plugin(tmp_path / "plugin", "holding", HOLDING):
        words = ("chat", taught, "--runner", "holding", "-o", "constrain=true")
        refused = cli(*words)
        held = cli(*words, "--schema", "number")
    assert refused.code == 2
    assert "Add --schema" in refused.err
    assert (held.code, held.err) == (0, "")
