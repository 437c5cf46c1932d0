"""Write Ollama's Modelfile: the file, its template in Go where that is proved, its stop tokens, how it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.gates.parity import Row, rows_of
from pillm_llamacpp.ollama.gotemplate import GoTemplate, Unsupported
from pillm_llamacpp.ollama.prompts import prompt_of
from pillm_llamacpp.ollama.turns import learn
from pillm_llamacpp.workers.client import Worker, WorkerDied

MODELFILE = "Modelfile"
MAX_CONTEXT = 4096
_AT_ONCE = 256
_ANY, _DAYS = [{"role": "user", "content": "Bonjour"}], ("2001-02-03", "2022-11-12")


@dataclass(frozen=True, slots=True)
class Translation:
    """A chat template in Go, or why there is none."""

    go: str | None
    note: str
    rows: int = 0
    """On how many conversations both were found to say the same."""


def translate(path: Path, rows: Sequence[Row], day: str | None = None) -> Translation:
    """Return a GGUF file's chat template in Go, proved equal on the prompts of all rows, or the first reason against it."""
    asked = [_prompt(row.messages) for row in rows]
    if any(row.tools or any(message.get("tool_calls") for message in row.messages) for row in rows):
        return Translation(None, "the rows have tools, which Ollama prints in its own way")
    with Worker(f"the Modelfile of {path.name}") as worker:
        facts = worker.ask(op="open", path=str(path), vocab_only=True)
        if not facts["template"]:
            return Translation(None, "the file carries no chat template")
        render = _Renderer(worker, facts["bos"], day)
        turns = learn(render.one)
        if turns is None:
            return Translation(None, "its turns do not stand apart")
        if len({_Renderer(worker, None, day).one(_ANY) for day in _DAYS}) > 1:
            return Translation(None, "it prints the day, which a Modelfile could only say once")
        odd = next((text for text in turns.literals() if not _writable(text)), None)
        if odd is not None or facts["adds_eos"]:
            return Translation(None, f"a Modelfile cannot hold {odd!r}" if odd else "llama.cpp would end the prompt by itself")
        go = turns.go()
        found = _proved(go, GoTemplate(go), rows, asked, render)
        if render.without_bos:
            return Translation(None, "Ollama would begin the prompt with a token that the template does not print")
        return found


def _proved(
    go: str, template: GoTemplate, rows: Sequence[Row], asked: Sequence[list[dict[str, Any]]], render: _Renderer
) -> Translation:
    """Return the template, or the first row on which it says something else than the model's own."""
    for row, messages, expected in zip(rows, asked, render.many(asked), strict=True):
        try:
            said = prompt_of(template, messages)
        except Unsupported as error:
            return Translation(None, f"{row.id}: {error}")
        if said != expected:
            return Translation(None, f"on {row.id} it would say something else")
    return Translation(go, f"equal on {len(rows)} conversations", len(rows))


class _Renderer:
    """The model's own template, in the worker that holds the file."""

    def __init__(self, worker: Worker, bos: str | None, day: str | None) -> None:
        self._worker, self._bos, self._day = worker, bos, day
        self.without_bos = False
        """Whether a prompt did not begin with the token that Ollama puts first, so that it would stand there all the same."""

    def one(self, messages: Sequence[dict[str, Any]]) -> str | None:
        """Return a prompt; None where the template refuses the conversation."""
        try:
            return next(self.many([list(messages)]))
        except WorkerDied:
            raise
        except (pillm.BackendError, pillm.DataError):
            return None

    def many(self, conversations: Iterable[list[dict[str, Any]]]) -> Iterator[str]:
        """Yield the prompts without the token that Ollama's tokenizer puts before them."""
        for some in _batches(conversations):
            rows = [{"messages": messages, "tools": [], "ask": True, "suffix": ""} for messages in some]
            for made in self._worker.ask(op="encode", rows=rows, day=self._day)["rows"]:
                text = str(made["text"])
                self.without_bos |= self._bos is not None and not text.startswith(self._bos)
                yield text.removeprefix(self._bos or "")


def _batches(items: Iterable[list[dict[str, Any]]]) -> Iterator[list[list[dict[str, Any]]]]:
    waiting: list[list[dict[str, Any]]] = []
    for one in items:
        waiting.append(one)
        if len(waiting) == _AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _prompt(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the part of a conversation that asks for its last answer."""
    return list(messages[:-1] if messages[-1]["role"] == "assistant" else messages)


def prompts_of(checkpoint: pillm.Checkpoint) -> list[Row]:
    """Return the conversations that a template is proved on: those of the data; without any, the built-in strings.

    Of these only those without blanks around them: many templates trim what they print, and Go's do not.
    """
    rows = rows_of(checkpoint)
    plain = [row for row in rows if row.messages[-1]["content"] == str(row.messages[-1]["content"]).strip()]
    return [row for row in rows if row.ids is not None] or plain


def system_of(rows: Sequence[Row]) -> str | None:
    """Return the system message that every row begins with, where it is the same one."""
    found = {row.messages[0].get("content") if row.messages[0]["role"] == "system" else None for row in rows}
    one = next(iter(found)) if len(found) == 1 else None
    return str(one) if one else None


def modelfile(
    chosen: pillm.Preference, translation: Translation, *, system: str | None, stops: Sequence[str], context: int
) -> str:
    """Return the text of a Modelfile for a file of its folder."""
    lines = [f"# Ollama: ollama create NAME -f {MODELFILE}", pillm.ollama_from(chosen), ""]
    if translation.go is not None:
        lines += [f"# The chat template of the file, in Go: {translation.note}.", f'TEMPLATE """{translation.go}"""', ""]
    else:
        lines += [
            f"# No TEMPLATE: {_line(translation.note)}. Ollama then takes what it guesses from the file, which may differ from",
            "# what the model was taught; ask it through llama.cpp or pillm, which use the file's own template.",
            "",
        ]
    if system and _writable(system):
        lines += [f'SYSTEM """{system}"""', ""]
    lines += [f"PARAMETER stop {quoted}" for stop in stops if (quoted := _quoted(stop))]
    lines += [f"PARAMETER num_ctx {min(context, MAX_CONTEXT)}", "PARAMETER temperature 0"]
    return "\n".join(lines) + "\n"


def _writable(text: str) -> bool:
    """Say whether Ollama reads a text between triple quotes as it stands: its reader drops what cannot be printed."""
    plain = all(sign.isprintable() or sign in "\n\t" for sign in text)
    return plain and '"""' not in text and not text.endswith('"') and "{{" not in text and "\r" not in text


def _quoted(stop: str) -> str | None:
    return f'"{stop}"' if '"' not in stop and "\n" not in stop and stop.strip() == stop and stop.isprintable() else None


def _line(text: str) -> str:
    return " ".join(text.split())
