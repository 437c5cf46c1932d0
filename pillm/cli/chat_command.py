"""`pillm chat`: talk to a model file or a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pillm.cli.choices import assignments, backend_option, schema_in_prompt, system_message
from pillm.cli.targets import contract_for, model_of, runner_for
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import BackendError, ConfigError, DataError
from pillm.records import Answer, JSONObject, Message, Prompt
from pillm.rows import named_schema, read_schema

if TYPE_CHECKING:
    from pillm.backends import Runner, Session
    from pillm.contract import Contract


@cli_command("chat")
@click.argument("model")
@backend_option("runner", required=False, more=" answers; by default one that reads MODEL")
@assignments("runner")
@click.option("--memory", is_flag=True, help="Keep the conversation; by default each line is asked by itself.")
@click.option("--schema", metavar="NAME|FILE", help="The JSON Schema of every answer: a name as rows name it, or a file.")
@schema_in_prompt()
@system_message()
@click.pass_obj
def command(
    terminal: Terminal, /, model: str, runner: str | None, options: dict[str, Any], memory: bool, **chosen: Any
) -> None:
    """Talk to MODEL. On a terminal it asks for your line; `echo text | pillm chat MODEL` gives one answer per line.

    How a --schema is told is decided by the contract that MODEL was trained under: its contract.json, for a .gguf file one
    beside it; --schema-in-prompt and --system each override their part of it. `-o constrain=true` holds answers to it.
    """
    found = model_of(model, terminal)
    built = runner_for(found, runner, options)
    contract = contract_for(found, chosen)
    schema = _schema(chosen["schema"])
    _check_use(terminal, schema, contract, built)
    turns: list[dict[str, str]] = []
    with built.open(found) as session:
        talk = _Talk(session, contract, memory, schema)
        for line in _text(_lines(terminal)):
            answer = talk.say(line)
            turns.append({"prompt": line, "answer": answer})
            if not terminal.json:
                terminal.result(answer, answer if sys.stdin.isatty() else " ".join(answer.splitlines()))
                sys.stdout.flush()
    if terminal.json:
        terminal.result(turns)


def _schema(text: str | None) -> JSONObject | None:
    """Return the JSON Schema of that file, else of that name, looked up beside the person and then in pillm, as for rows."""
    if text is None:
        return None
    path = Path(text)
    if not path.is_file():
        return named_schema(text, Path())
    return read_schema(path)


def _check_use(terminal: Terminal, schema: JSONObject | None, contract: Contract, runner: Runner) -> None:
    """Refuse a constraint that has no schema, and say so where a schema changes nothing."""
    constrain = bool(getattr(runner, "constrain", False))  # runners that can hold answers to a schema call the option so
    if constrain and schema is None:
        raise ConfigError(
            "-o constrain=true holds answers to a schema, and none is given. Add --schema NAME or FILE, or leave constrain out."
        )
    if schema is not None and not constrain and contract.schema_in_prompt == "none":
        terminal.say(
            "--schema changes nothing here: the contract tells the model no schema, and constrain is off. "
            "Add --schema-in-prompt text if the model was taught so, or -o constrain=true."
        )


def _text(lines: Iterator[str]) -> Iterator[str]:
    """Refuse lines that are not UTF-8: no tokenizer takes them, and in which shape they come depends on the locale."""
    try:
        for line in lines:
            line.encode("utf-8")
            yield line
    except UnicodeError as error:
        raise DataError("a line of stdin is not UTF-8. Write it in UTF-8.") from error


def _lines(terminal: Terminal) -> Iterator[str]:
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    import readline  # noqa: F401 - gives input() its line editing

    terminal.say("Say something; Ctrl-D ends the talk.")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            terminal.say("")
            return
        if line:
            yield line


class _Talk:
    """A conversation with a model, one line at a time."""

    def __init__(self, session: Session, contract: Contract, memory: bool, schema: JSONObject | None) -> None:
        self._session, self._contract, self._memory, self._schema = session, contract, memory, schema
        self._messages: list[Message] = []
        self._turns = 0

    def say(self, line: str) -> str:
        """Return the model's answer to a line."""
        self._turns += 1
        earlier = self._messages if self._memory else []
        messages: list[Message] = [*earlier, {"role": "user", "content": line}]
        prompt = Prompt(id=f"turn-{self._turns}", messages=tuple(messages), schema=self._schema)
        request = self._contract.request(prompt, {"chat": True})
        for _, result in self._session.answer(iter([request])):
            if isinstance(result, Answer):
                self._messages = [*messages, result.message]
                return result.content
            raise BackendError(f"the model gave no answer: {result.message}")
        raise BackendError("the model gave no answer.")
