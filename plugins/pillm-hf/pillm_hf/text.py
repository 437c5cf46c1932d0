"""Turn examples into token ids and say which of them are learnt: the answer and its end-of-turn token, nothing else."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pillm
from pillm_hf.chat import Chat

_CHUNK = 512

Messages = tuple[pillm.Message, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation as it is trained on: `ids[start:end]` are learnt."""

    id: str
    messages: Messages
    text: str
    ids: list[int]
    start: int
    end: int
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Encoding:
    """The encoded rows of one split, and how many rows were left out, by reason."""

    rows: list[Encoded] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def answer_tokens(self) -> int:
        """Return how many tokens are learnt."""
        return sum(row.end - row.start for row in self.rows)


def encode(examples: Iterable[pillm.Example], contract: pillm.Contract, chat: Chat, max_length: int) -> Encoding:
    """Encode examples; a row that is too long or cannot be labelled exactly is left out and counted, never cut.

    Raises DataError where an example has no answer or the template refuses its messages.
    """
    encoding = Encoding()
    rendered = ((example, *_render(example, contract, chat)) for example in examples)
    while chunk := list(islice(rendered, _CHUNK)):
        wholes, prompts = chat.encode([row[2] for row in chunk]), chat.encode([row[3] for row in chunk])
        for (example, messages, text, _), ids, prompt_ids in zip(chunk, wholes, prompts, strict=True):
            start = len(prompt_ids)
            end = len(ids) - ids[::-1].index(chat.end_of_turn.id) if chat.end_of_turn.id in ids[start:] else 0
            row = Encoded(example.prompt.id, messages, text, ids, start, end, example.prompt.tools)
            reason = f"longer than max_length={max_length} tokens" if len(ids) > max_length else None
            reason = reason or _fault(row, prompt_ids, example.answer, chat)
            if reason:
                encoding.left_out[reason] += 1
            else:
                encoding.rows.append(row)
    return encoding


def prompts_of(prompts: Iterable[pillm.Prompt], contract: pillm.Contract, chat: Chat) -> Iterator[Encoded]:
    """Yield prompts without answers, rendered as a student is asked; the ones its template refuses are left out."""
    waiting = iter(prompts)
    while chunk := list(islice(waiting, _CHUNK)):
        kept: list[pillm.Prompt] = []
        texts: list[str] = []
        for prompt in chunk:
            try:
                texts.append(chat.prompt(contract.messages(prompt), prompt.tools))
            except pillm.DataError:
                continue  # nobody can ask the student this, so there are no ids to compare
            kept.append(prompt)
        for prompt, text, ids in zip(kept, texts, chat.encode(texts), strict=True):
            yield Encoded(prompt.id, contract.messages(prompt), text, ids, len(ids), len(ids), prompt.tools)


def _render(example: pillm.Example, contract: pillm.Contract, chat: Chat) -> tuple[Messages, str, str]:
    """Return an example's messages, its whole text, and the text that the student is given before it answers."""
    prompt, messages = example.prompt, contract.conversation(example)
    where = prompt.where or prompt.id
    if not (example.answer.content.strip() or example.answer.tool_calls):
        raise pillm.DataError(f"{where}: the answer is empty, so nothing can be learnt from it. Remove the row or label it.")
    try:
        text, asked = chat.conversation(messages, prompt.tools), chat.prompt(messages[:-1], prompt.tools)
        if not text.startswith(asked):  # the template rewrites earlier turns; only its marks can tell then
            asked = chat.marked_prompt(messages, prompt.tools) or ""
    except pillm.DataError as error:
        raise pillm.DataError(f"{where}: {error}") from error
    if not asked:
        raise pillm.DataError(
            f"{where}: the template renders the prompt differently once the answer follows, and it has no "
            "{% generation %} marks, so the answer cannot be told apart. Add the marks around the assistant's text."
        )
    return messages, text, asked


def _fault(row: Encoded, prompt_ids: list[int], answer: pillm.Answer, chat: Chat) -> str | None:
    """Return why a row's labels would be wrong, or None: the labelled tokens must read as the answer, and end the turn."""
    if row.ids[: row.start] != prompt_ids:
        return "the answer begins inside a token (white space before it)"
    learnt = row.ids[row.start : row.end]
    if not learnt:
        return f"the template writes no {chat.end_of_turn.token} after the answer"
    if chat.end_of_turn.id in learnt[:-1]:
        return f"the answer contains {chat.end_of_turn.token}"
    read = chat.tokenizer.decode(learnt, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if _folded(answer.content) not in _folded(read):
        return "the tokens do not read as the answer"
    return None


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())
