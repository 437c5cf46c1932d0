"""`pillm chat`: talk to a model file or a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pillm.cli.choices import assignments, backend_option, schema_in_prompt, system_message
from pillm.cli.targets import contract_for, model_of, runner_for
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import BackendError
from pillm.records import Answer, Message, Prompt

if TYPE_CHECKING:
    from pillm.backends import Session
    from pillm.contract import Contract


@cli_command("chat")
@click.argument("model")
@backend_option("runner", required=False, more=" answers; by default one that reads MODEL")
@assignments("runner")
@click.option("--memory", is_flag=True, help="Keep the conversation; by default each line is asked by itself.")
@schema_in_prompt()
@system_message()
@click.pass_obj
def command(
    terminal: Terminal, /, model: str, runner: str | None, options: dict[str, Any], memory: bool, **chosen: Any
) -> None:
    """Talk to MODEL. On a terminal it asks for your line; `echo text | pillm chat MODEL` gives one answer per line."""
    found = model_of(model)
    built = runner_for(found, runner, options)
    contract = contract_for(found, chosen["schema_in_prompt"], chosen["system"])
    turns: list[dict[str, str]] = []
    with built.open(found) as session:
        talk = _Talk(session, contract, memory)
        for line in _lines(terminal):
            answer = talk.say(line)
            turns.append({"prompt": line, "answer": answer})
            if not terminal.json:
                terminal.result(answer, answer if sys.stdin.isatty() else " ".join(answer.splitlines()))
                sys.stdout.flush()
    if terminal.json:
        terminal.result(turns)


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

    def __init__(self, session: Session, contract: Contract, memory: bool) -> None:
        self._session, self._contract, self._memory = session, contract, memory
        self._messages: list[Message] = []
        self._turns = 0

    def say(self, line: str) -> str:
        """Return the model's answer to a line."""
        self._turns += 1
        earlier = self._messages if self._memory else []
        messages: list[Message] = [*earlier, {"role": "user", "content": line}]
        prompt = Prompt(id=f"turn-{self._turns}", messages=tuple(messages))
        request = self._contract.request(prompt, {"chat": True})
        for _, result in self._session.answer(iter([request])):
            if isinstance(result, Answer):
                self._messages = [*messages, result.message]
                return result.content
            raise BackendError(f"the model gave no answer: {result.message}")
        raise BackendError("the model gave no answer.")
