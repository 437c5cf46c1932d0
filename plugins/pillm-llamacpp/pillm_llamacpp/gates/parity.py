"""The parity gate: training, the reloaded tokenizer and llama.cpp must see the same text and the same token ids."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import pillm
from pillm_llamacpp.converting.pretokenizer import WORD_PIECE
from pillm_llamacpp.gates.strings import HARD_STRINGS, NOT_FOR_WORD_PIECE
from pillm_llamacpp.workers.client import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pillm_llamacpp.converting.conversion import Converted
    from pillm_llamacpp.gates.checks import Findings

_AT_ONCE = 256
_WHO = ("the ids trained on", "the reloaded tokenizer", "llama.cpp")


class Row(NamedTuple):
    """One conversation to compare; text and ids are None where no trainer recorded any."""

    id: str
    messages: list[dict[str, Any]]
    text: str | None = None
    ids: list[int] | None = None
    tools: list[dict[str, Any]] = []  # noqa: RUF012 - a tuple's default, never changed


def rows_of(checkpoint: pillm.Checkpoint, pre: str | None = None) -> list[Row]:
    """Return what the trainer recorded, then the built-in hard strings, which the data may not hold the like of.

    `pre` is the pre-tokenizer that was derived: of strings that llama.cpp is known to split otherwise there, none is taken.
    """
    left_out = NOT_FOR_WORD_PIECE if pre == WORD_PIECE else ()
    hard = (
        Row(f"built-in string {number}", [{"role": "user", "content": text}])
        for number, text in enumerate(HARD_STRINGS, 1)
        if text not in left_out
    )
    return [*(_row(probe) for probe in checkpoint.probes()), *hard]


def asked(row: Row) -> dict[str, Any]:
    """Return a row as the converter's child process is told it."""
    return {"messages": row.messages, "text": row.text, "tools": row.tools}


def day_of(checkpoint: pillm.Checkpoint) -> str | None:
    """Return the day that the probes were rendered on, which some templates print: the contract's, else the file's."""
    told = checkpoint.contract.get("date")
    if told:
        return str(told)[:10]
    path = checkpoint.path / "probes.jsonl"
    return date.fromtimestamp(path.stat().st_mtime).isoformat() if path.is_file() else None


def _row(probe: pillm.Probe) -> Row:
    messages = [pillm.template_message(message) for message in probe.messages]
    return Row(probe.id, messages, probe.text, list(probe.ids), list(probe.tools))


def prove(path: Path, rows: Sequence[Row], made: Converted, told: Findings, day: str | None = None) -> pillm.Parity:
    """Return the parity of a GGUF file over all rows; raise BackendError at the first special token or row that differs."""
    with Worker(f"the parity check of {path.name}") as worker:
        facts = worker.ask(op="open", path=str(path), vocab_only=True)
        _check_specials(worker, made.specials, told)
        if not told.encoder:
            _check_stops(worker, facts, told)
        encoded = _plain(worker, rows) if told.encoder else _encoded(worker, rows, made.encoded, day)
        for row, python, device in zip(rows, made.encoded, encoded, strict=True):
            _compare(worker, row, python, device)
    return pillm.Parity(rows=len(rows), mismatches=0)


def _plain(worker: Worker, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield what an encoder sees: the text alone, between the special tokens that it puts around it."""
    for row in rows:
        text = row.messages[-1]["content"]
        yield {"text": text, "ids": worker.ask(op="tokenize", text=text, special=True)["ids"]}


def _encoded(
    worker: Worker, rows: Sequence[Row], reloaded: Sequence[dict[str, Any]], day: str | None
) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _AT_ONCE):
        asked = [
            {"messages": row.messages, "tools": row.tools, "ask": python["ask"], "suffix": python["suffix"]}
            for row, python in zip(rows[start : start + _AT_ONCE], reloaded[start : start + _AT_ONCE], strict=True)
        ]
        yield from worker.ask(op="encode", rows=asked, day=day)["rows"]


def _check_specials(worker: Worker, specials: dict[str, list[int]], told: Findings) -> None:
    """Raise BackendError where a special token has another id, or its text is not read as that token."""
    for text, number in told.specials.items():
        if text in specials and specials[text][0] != number:
            raise pillm.BackendError(
                f"special tokens: {text!r} was {number} in training and is {specials[text][0]} in the reloaded tokenizer. "
                f"{_ADVICE}"
            )
    for text, (number, *ids) in specials.items():
        found = worker.ask(op="tokenize", text=text)["ids"]
        if found != ids:
            raise pillm.BackendError(
                f"special tokens: the text {text!r} is {ids} for the reloaded tokenizer and {found} for llama.cpp. {_ADVICE}"
            )
        shown = worker.ask(op="tokens", ids=[number])["tokens"][0]
        if ids == [number] and shown != text:
            raise pillm.BackendError(
                f"special tokens: token {number} is {text!r} for the reloaded tokenizer and {shown!r} for llama.cpp. {_ADVICE}"
            )


def _check_stops(worker: Worker, facts: dict[str, Any], told: Findings) -> None:
    """Raise BackendError where an answer would run past the end of its turn."""
    for text in told.stops:
        ids = worker.ask(op="tokenize", text=text)["ids"]
        if len(ids) != 1 or ids[0] not in facts["ends"]:
            raise pillm.BackendError(
                f"the stop token {text!r} would not end an answer in llama.cpp (it is {ids}). No GGUF was left. "
                "A stop token must be one special token of the tokenizer, and a file can name three that llama.cpp does not "
                "know by their text."
            )
    for number in told.ends:
        if number not in facts["ends"]:
            text = worker.ask(op="tokens", ids=[number])["tokens"][0]
            raise pillm.BackendError(
                f"generation_config.json ends an answer at token {number} ({text!r}), and llama.cpp would not. No GGUF was "
                "left. Remove it from eos_token_id there if it ends no answer."
            )
    if not facts["ends"]:
        raise pillm.BackendError(
            "no token of the vocabulary ends an answer in llama.cpp. No GGUF was left. Give the tokenizer an eos_token."
        )


def _compare(worker: Worker, row: Row, python: dict[str, Any], device: dict[str, Any]) -> None:
    texts = [row.text if row.text is not None else python["text"], python["text"], device["text"]]
    for who in (1, 2):
        if texts[who] != texts[0]:
            place = _first_difference(texts[0], texts[who])
            raise pillm.BackendError(
                f"parity: {row.id}: the chat template gives another text. At character {place} {_named(0, row)} has "
                f"{texts[0][place : place + 30]!r}, {_WHO[who]} {texts[who][place : place + 30]!r}. {_ADVICE}"
            )
    ids = [row.ids if row.ids is not None else python["ids"], python["ids"], device["ids"]]
    for who in (1, 2):
        if ids[who] != ids[0]:
            place = _first_difference(ids[0], ids[who])
            raise pillm.BackendError(
                f"parity: {row.id}: other token ids. At position {place} {_named(0, row)} has {_piece(worker, ids[0], place)}, "
                f"{_WHO[who]} has {_piece(worker, ids[who], place)}. {_ADVICE}"
            )


_ADVICE = (
    "No GGUF was left, because the device would see other tokens than the model was trained on. Check that the tokenizer "
    "files in the folder are those of the training; if only llama.cpp differs, try another `pre`."
)


def _named(who: int, row: Row) -> str:
    return _WHO[who] if row.ids is not None else _WHO[1]


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    for place, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return place
    return min(len(one), len(other))


def _piece(worker: Worker, ids: list[int], place: int) -> str:
    if place >= len(ids):
        return "nothing"
    return f"{worker.ask(op='tokens', ids=[ids[place]])['tokens'][0]!r} ({ids[place]})"
