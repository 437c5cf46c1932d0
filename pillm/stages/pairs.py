"""Preference pairs: a better and a worse answer to one prompt, from several samples and what was judged of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pillm.choosing import Candidate, vote
from pillm.errors import DataError
from pillm.files import replacing
from pillm.reasoning import spoken
from pillm.records import Answer, JSONObject, Message, Prompt
from pillm.rows import write_rows

PairFormat: TypeAlias = Literal["trl", "openai", "alpaca", "sharegpt"]
"""Whose field names a pair is written with; the last two as LLaMA-Factory reads them."""
PAIR_FORMATS: tuple[PairFormat, ...] = get_args(PairFormat)
_SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two answers to one prompt, the chosen one better than the rejected one."""

    prompt: Prompt
    chosen: Answer
    rejected: Answer
    margin: float | None = None
    """How much higher the chosen one was scored; None where the other was refused rather than scored."""
    samples: tuple[int, int] = (0, 0)
    """The sample numbers of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """What became of the prompts: how many there were, how many had a pair, and how many pairs were written."""

    prompts: int = 0
    paired: int = 0
    pairs: int = 0
    unwritable: int = 0
    """Pairs that the format has no room for, such as tool calls in Alpaca rows."""


def pairs_of(
    prompt: Prompt, candidates: Iterable[Candidate], *, per_prompt: int = 1, min_margin: float = 0.0
) -> list[PreferencePair]:
    """Return at most `per_prompt` pairs, the clearest first; no rejected answer serves twice.

    An accepted answer is better than a refused one; of two accepted ones that were scored the higher is better, by at least
    `min_margin` and by more than nothing. Answers that say the same make no pair, an empty one teaches nothing.
    """
    known = sorted((one for one in candidates if not _is_empty(one.answer)), key=lambda one: one.number)
    ranked = sorted(known, key=lambda one: (not one.accepted, -_score(one)))
    said = {one.number: vote(one.answer, as_json=prompt.schema is not None) for one in known}
    found: list[PreferencePair] = []
    for worse in reversed(ranked):
        others = (one for one in ranked if said[one.number] != said[worse.number])
        better = next((one for one in others if _beats(one, worse, min_margin)), None)
        if better is None or len(found) >= per_prompt:
            continue
        margin = _score(better) - _score(worse) if worse.accepted else None
        found.append(
            PreferencePair(
                prompt=prompt,
                chosen=better.answer,
                rejected=worse.answer,
                margin=margin,
                samples=(better.number, worse.number),
            )
        )
    return found


def _is_empty(answer: Answer) -> bool:
    return not answer.content.strip() and not answer.tool_calls


def _score(one: Candidate) -> float:
    return one.score if one.score is not None else 0.0


def _beats(better: Candidate, worse: Candidate, min_margin: float) -> bool:
    if not better.accepted or not worse.accepted:
        return better.accepted and not worse.accepted
    if better.score is None or worse.score is None:
        return False
    return better.score > worse.score and better.score - worse.score >= min_margin


def pair_to_row(pair: PreferencePair, form: PairFormat) -> JSONObject:
    """Return a pair as a row of that format; raise DataError for what the format cannot hold.

    Reasoning that an answer still has is written within its content, as it is trained on.
    """
    return _WRITERS[form](pair, list(pair.prompt.messages))


def _trl(pair: PreferencePair, messages: list[Message]) -> JSONObject:
    row: JSONObject = {"prompt": messages, "chosen": [spoken(pair.chosen)], "rejected": [spoken(pair.rejected)]}
    return {**row, "tools": list(pair.prompt.tools)} if pair.prompt.tools else row


def _openai(pair: PreferencePair, messages: list[Message]) -> JSONObject:
    asked: JSONObject = {"messages": messages, "tools": list(pair.prompt.tools), "parallel_tool_calls": True}
    return {"input": asked, "preferred_output": [spoken(pair.chosen)], "non_preferred_output": [spoken(pair.rejected)]}


def _alpaca(pair: PreferencePair, messages: list[Message]) -> JSONObject:
    system, turns = _system_and_turns(messages)
    roles = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if [turn["role"] for turn in turns] != roles:
        raise _no_room(pair, "alpaca", "turns that are not question and answer by turns")
    if pair.prompt.tools or pair.chosen.tool_calls or pair.rejected.tool_calls:
        raise _no_room(pair, "alpaca", "tools")
    *history, asked = (str(turn.get("content") or "") for turn in turns)
    return {
        "instruction": asked,
        "input": "",
        "chosen": spoken(pair.chosen)["content"],
        "rejected": spoken(pair.rejected)["content"],
        "system": system,
        "history": [list(turn) for turn in zip(history[::2], history[1::2], strict=True)],
    }


def _sharegpt(pair: PreferencePair, messages: list[Message]) -> JSONObject:
    system, turns = _system_and_turns(messages)
    told = [_turn(message) for message in turns]
    # its readers want one side after the other, the asking one first and last
    sides = [turn["from"] in ("human", "observation") for turn in told]
    if sides != [place % 2 == 0 for place in range(len(sides))] or len(sides) % 2 == 0:
        raise _no_room(pair, "sharegpt", "two turns of one side in a row")
    tools = json.dumps([tool.get("function", tool) for tool in pair.prompt.tools], ensure_ascii=False)
    return {
        "conversations": told,
        "chosen": _turn(spoken(pair.chosen)),
        "rejected": _turn(spoken(pair.rejected)),
        "system": system,
        "tools": tools if pair.prompt.tools else "",
    }


def _turn(message: Message) -> JSONObject:
    calls = message.get("tool_calls")
    if calls:
        functions = json.dumps([call.get("function", call) for call in calls], ensure_ascii=False)
        return {"from": "function_call", "value": functions}
    return {"from": _SPEAKERS.get(str(message.get("role")), "human"), "value": str(message.get("content") or "")}


def _system_and_turns(messages: list[Message]) -> tuple[str, list[Message]]:
    first = messages[0] if messages and messages[0].get("role") in ("system", "developer") else None
    return (str(first.get("content") or ""), messages[1:]) if first else ("", messages)


def _no_room(pair: PreferencePair, form: str, what: str) -> DataError:
    return DataError(f"row {pair.prompt.id!r}: {form} rows have no room for {what}. Choose the format trl or openai.")


_WRITERS: dict[PairFormat, Callable[[PreferencePair, list[Message]], JSONObject]] = {
    "trl": _trl,
    "openai": _openai,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


def write_pairs(
    rows: Iterable[tuple[Prompt, Sequence[Candidate]]],
    out: Path,
    form: PairFormat,
    *,
    per_prompt: int = 1,
    min_margin: float = 0.0,
) -> PairCounts:
    """Write the pairs of some prompts into a JSONL file, whole or not at all, and return what became of them."""
    counts = {"prompts": 0, "paired": 0, "pairs": 0, "unwritable": 0}

    def written() -> Iterator[JSONObject]:
        for prompt, candidates in rows:
            found = pairs_of(prompt, candidates, per_prompt=per_prompt, min_margin=min_margin)
            counts["prompts"] += 1
            counts["paired"] += bool(found)
            for pair in found:
                try:
                    row = pair_to_row(pair, form)
                except DataError:
                    counts["unwritable"] += 1
                    continue
                counts["pairs"] += 1
                yield row

    with replacing(out) as part:
        write_rows(part, written())
    return PairCounts(**counts)


def dataset_info(name: str, form: PairFormat) -> JSONObject | None:
    """Return the entry of LLaMA-Factory's dataset_info.json that reads a file of pairs; None for formats it does not read."""
    if form == "alpaca":
        columns = {one: one for one in ("chosen", "rejected", "system", "history")}
        return {"file_name": name, "ranking": True, "columns": {"prompt": "instruction", "query": "input", **columns}}
    if form == "sharegpt":
        columns = {one: one for one in ("chosen", "rejected", "system", "tools")}
        formatting: JSONObject = {"formatting": "sharegpt", "ranking": True}
        return {"file_name": name, **formatting, "columns": {"messages": "conversations", **columns}}
    return None
