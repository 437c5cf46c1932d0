"""Turn examples into token ids and say which of them are learnt: the answer and its end-of-turn token, nothing else."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pillm
from pillm_hf.models.precision import Warn
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.tokencache import Reading, TokenCache, row_key

_CHUNK = 512

Messages = tuple[pillm.Message, ...]
Talk = tuple[pillm.Example, Messages]


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


def encode(
    examples: Iterable[pillm.Example], contract: pillm.Contract, chat: Chat, max_length: int, cache: TokenCache | None = None
) -> Encoding:
    """Encode examples; a row that is too long or cannot be labelled exactly is left out and counted, never cut.

    Rows that `cache` holds are not tokenised again, and the others are put there.
    Raises DataError where an example has no answer or the template refuses its messages.
    """
    encoding = Encoding()
    talks = ((example, contract.conversation(example)) for example in examples)
    while chunk := list(islice(talks, _CHUNK)):
        for (example, messages), reading in zip(chunk, _cached(chunk, chat, cache), strict=True):
            ids = chat.shared(reading.ids)
            reason = f"longer than max_length={max_length} tokens" if len(ids) > max_length else reading.fault
            if reason:
                encoding.left_out[reason] += 1
                continue
            prompt = example.prompt
            encoding.rows.append(Encoded(prompt.id, messages, reading.text, ids, reading.start, reading.end, prompt.tools))
    return encoding


def _cached(talks: Sequence[Talk], chat: Chat, cache: TokenCache | None) -> list[Reading]:
    """Return what the tokenizer makes of conversations; only those that the cache does not hold are read."""
    if cache is None:
        return _tokenised(talks, chat)
    keys = [row_key(messages, example.prompt.tools, example.answer) for example, messages in talks]
    known = cache.get(keys)
    new = {key: talk for key, talk in zip(keys, talks, strict=True) if key not in known}
    made = dict(zip(new, _tokenised(list(new.values()), chat), strict=True))
    cache.put(made)
    return [known.get(key) or made[key] for key in keys]


def _tokenised(talks: Sequence[Talk], chat: Chat) -> list[Reading]:
    """Return what the tokenizer makes of conversations, and why a row's labels would be wrong."""
    rendered = [_render(example, messages, chat) for example, messages in talks]
    wholes, prompts = chat.encode([text for text, _ in rendered]), chat.encode([asked for _, asked in rendered])
    readings = []
    for (example, _), (text, _), ids, prompt_ids in zip(talks, rendered, wholes, prompts, strict=True):
        start = len(prompt_ids)
        end = len(ids) - ids[::-1].index(chat.end_of_turn.id) if chat.end_of_turn.id in ids[start:] else 0
        reading = Reading(text, ids, start, end, None)
        readings.append(reading._replace(fault=_fault(reading, prompt_ids, example.answer, chat)))
    return readings


def prompts_of(prompts: Iterable[pillm.Prompt], contract: pillm.Contract, chat: Chat, warn: Warn) -> Iterator[Encoded]:
    """Yield prompts without answers, rendered as a student is asked; those its template refuses are counted and told."""
    waiting, refused, reason = iter(prompts), 0, ""
    while chunk := list(islice(waiting, _CHUNK)):
        kept: list[pillm.Prompt] = []
        texts: list[str] = []
        for prompt in chunk:
            try:
                texts.append(chat.prompt(contract.messages(prompt), prompt.tools))
            except pillm.DataError as error:  # nobody can ask the student this, so there are no ids to compare
                refused, reason = refused + 1, reason or f"{prompt.where or prompt.id}: {error}"
                continue
            kept.append(prompt)
        for prompt, text, ids in zip(kept, texts, chat.encode(texts), strict=True):
            yield Encoded(prompt.id, contract.messages(prompt), text, ids, len(ids), len(ids), prompt.tools)
    if refused:
        warn(f"{refused} prompts left out of the probes, the student cannot be asked them; the first: {reason}")


def _render(example: pillm.Example, messages: Messages, chat: Chat) -> tuple[str, str]:
    """Return an example's whole text, and the text that the student is given before it answers."""
    prompt = example.prompt
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
    return text, asked


def _fault(row: Reading, prompt_ids: list[int], answer: pillm.Answer, chat: Chat) -> str | None:
    """Return why a row's labels would be wrong, or None: the labelled tokens must read as the answer, and end the turn."""
    if row.ids[: row.start] != prompt_ids:
        return "the answer begins inside a token (white space before it)"
    learnt = row.ids[row.start : row.end]
    if not learnt:
        return f"the template writes no {chat.end_of_turn.token} after the answer"
    if chat.end_of_turn.id in learnt[:-1]:
        return f"the answer contains {chat.end_of_turn.token}"
    read = chat.tokenizer.decode(learnt, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    folded = _folded(read)
    if _folded(answer.content) not in folded:
        return "the tokens do not read as the answer"
    if not all(_is_written(part, folded) for call in answer.tool_calls for part in _parts(call.get("function", call))):
        return "the template does not write the answer's tool calls"
    return None


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a tool call says: its name, and the names and values of its arguments, however deep."""
    if isinstance(value, dict) and isinstance(value.get("name"), str) and "arguments" in value:
        arguments = value["arguments"]
        yield value["name"]
        yield from _leaves(_read(arguments) if isinstance(arguments, str) else arguments)
    else:
        yield from _leaves(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_written(part: Any, folded: str) -> bool:
    """Return whether a folded text has a name or a value, as Python or as JSON writes it."""
    forms = (str(part), json.dumps(part, ensure_ascii=False).strip('"'), json.dumps(part).strip('"'))
    return any(_folded(form) in folded for form in forms)


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())
