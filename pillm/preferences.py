"""Rows with a better and a worse answer, as preference data sets write them: taken apart into question and two answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pillm.errors import DataError
from pillm.records import JSONObject, Message

_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Preference:
    """A row without its two answers, and the answers; the question is still in the format that the row came in."""

    rest: JSONObject
    chosen: Message
    rejected: Message | None

    def native(self, rest: JSONObject) -> JSONObject:
        """Return the native row of `rest` with both answers; raise DataError where it holds another answer already."""
        asked = rest["messages"]
        if not isinstance(asked, list):
            raise DataError("'messages' must be a list of chat messages that is not empty.")
        last = asked[-1] if asked and isinstance(asked[-1], dict) else {}
        if last.get("role") == "assistant":
            if _said(last) != _said({"role": "assistant", **self.chosen}):
                raise DataError("the conversation ends with another answer than 'chosen'. Take out the one that is not meant.")
            asked = asked[:-1]
        return {**rest, "messages": [*asked, self.chosen], "rejected": self.rejected}


def preference_of(row: JSONObject) -> Preference | None:
    """Return a row with a chosen answer taken apart, and with a rejected one where it has that; None for any other row.

    Each answer is a text, a message, or a list: of that message alone, or the whole conversation, which both then share up
    to the answer. OpenAI's names (`input`, `preferred_output`, `non_preferred_output`) are known too. Raises DataError.
    """
    if "preferred_output" in row and "non_preferred_output" in row:
        row = _from_openai(row)
    if row.get("chosen") in _EMPTY or ("rejected" not in row and not isinstance(row["chosen"], str | dict | list)):
        return None  # alone, a number or a truth value of that name is no answer
    rest = dict(row)
    chosen, rejected = _turns(rest.pop("chosen"), "chosen"), _turns(rest.pop("rejected", None), "rejected")
    if len(chosen) > 1 or len(rejected) > 1:
        rest = _with_conversation(rest, chosen, rejected)
    return Preference(rest, chosen[-1], rejected[-1] if rejected else None)


def rejected_message(value: Any) -> Message | None:
    """Return the worse answer that a native row has as `rejected`, a text or a message; raise DataError for anything else."""
    turns = _turns(value, "rejected")
    if len(turns) > 1:
        raise DataError("'rejected' must be one answer: a text, or an assistant message.")
    if not turns:
        return None
    message = {"role": "assistant", **turns[0]}
    content, calls = message.get("content"), message.get("tool_calls")
    if message["role"] != "assistant" or not isinstance(content, str | None):
        raise DataError("'rejected' must be a text, or an assistant message.")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise DataError("the 'tool_calls' of 'rejected' must be a list of objects.")
    if not ((content or "").strip() or calls):
        raise DataError("'rejected' has no text in 'content'.")
    return message


def _turns(value: Any, name: str) -> list[Message]:
    """Return an answer as messages: none where it is absent, one, or the whole conversation that ends with it."""
    if value in _EMPTY:
        return []
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if isinstance(value, dict) and value.get("from") in ("gpt", "assistant") and isinstance(value.get("value"), str):
        return [{"role": "assistant", "content": value["value"]}]
    turns = [value] if isinstance(value, dict) else value
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and "from" not in turn for turn in turns):
        raise DataError(f"{name!r} must be the answer as text, as a message, or as a list of messages.")
    return turns


def _said(message: Message) -> JSONObject:
    """Return a message without what is empty, however that is written."""
    return {name: value for name, value in message.items() if value not in _EMPTY}


def _with_conversation(rest: JSONObject, chosen: list[Message], rejected: list[Message]) -> JSONObject:
    """Return a row with the question that both conversations, or the one there is, have before their last message."""
    asked = chosen[:-1]
    if rejected and rejected[:-1] != asked:
        raise DataError(
            "the conversations of 'chosen' and 'rejected' differ before their last message, and one question is needed for "
            "both answers. Leave the row out, or write 'prompt' and the two last answers."
        )
    if rest.get("messages") not in (None, chosen, asked):
        raise DataError("'messages' and 'chosen' are different conversations. Take out the one that is not meant.")
    if rest.get("prompt") == asked:
        del rest["prompt"]
    return {**rest, "messages": asked}


def _from_openai(row: JSONObject) -> JSONObject:
    rest = dict(row)
    asked = rest.pop("input", None)
    if not isinstance(asked, dict) or "messages" not in asked:
        raise DataError("'input' must be an object with 'messages'.")
    answers = {"chosen": rest.pop("preferred_output"), "rejected": rest.pop("non_preferred_output")}
    return {**rest, **asked, **answers}
