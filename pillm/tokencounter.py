"""How many tokens rows have, as a student reads them: counted with its tokenizer where that is here, else reckoned."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm.contract import Contract, template_message
from pillm.errors import PillmError
from pillm.intake.chattemplates import chat_environment
from pillm.intake.door import SPECIALS, check_chat_template, check_model_file
from pillm.intake.rendering import limited_rendering
from pillm.records import Message, Prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

CHARACTERS = 4
"""A token of English or French text, or of JSON, takes about so many, with the vocabulary of a usual model."""
TURN, OPENING = 5, 4
"""The tokens that usual chat templates put around a message, and before the answer."""


class TokenCounter:
    """Counts the tokens of rows under a contract, with the tokenizer and the chat template of a model folder.

    Without them, or without the library `tokenizers`, it reckons from characters; `estimated` says which.
    """

    def __init__(self, contract: Contract, folder: Path | None = None) -> None:
        self._contract = contract
        self._tokenizer: Tokenizer | None = None
        self._render: Callable[[Prompt], str] | None = None
        if folder is not None:
            self._load(folder)

    @property
    def estimated(self) -> bool:
        """Return whether tokens are reckoned from characters."""
        return self._tokenizer is None or self._render is None

    def prompts(self, rows: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt as it is sent, the chat template's own among them."""
        ids = self._ids(rows)
        return [self._reckoned(row) for row in rows] if ids is None else [len(one) for one in ids]

    def answers(self, rows: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each row's answer, 0 where none is known."""
        texts = [_answer(row) for row in rows]
        if self._tokenizer is None:
            return [-(-len(text) // CHARACTERS) for text in texts]
        return [len(self._tokenizer.encode(text, add_special_tokens=False).ids) + 1 if text else 0 for text in texts]

    def shared(self, rows: Sequence[Prompt]) -> int:
        """Return the tokens that all prompts begin with, where they have one system message; else 0."""
        systems = {_text(self._contract.messages(row), ("system", "developer")) for row in rows}
        if len(systems) != 1 or not (system := systems.pop()):
            return 0
        ids = self._ids(rows)
        if ids is None:
            return TURN + -(-len(system) // CHARACTERS)
        first, last = min(ids), max(ids)  # what these two share, all do that stand between them
        return next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))

    def characters(self, row: Prompt) -> int:
        """Return the characters of a row as it is sent, with its answer."""
        return len(_text(self._contract.messages(row))) + len(_answer(row))

    def _reckoned(self, row: Prompt) -> int:
        messages = self._contract.messages(row)
        return -(-len(_text(messages)) // CHARACTERS) + TURN * len(messages) + OPENING

    def _ids(self, rows: Sequence[Prompt]) -> list[list[int]] | None:
        """Return the token ids of the prompts; None where they are reckoned."""
        if self._tokenizer is None or self._render is None:
            return None
        try:
            with limited_rendering():
                texts = [self._render(row) for row in rows]
        except Exception as error:  # noqa: BLE001 - a template refuses in its own way; who trains or answers says so
            log.info("tokens are reckoned from characters: the chat template refuses a row: %s", error)
            self._render = None
            return None
        return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def _load(self, folder: Path) -> None:
        """Open tokenizer and template of a folder where there are any, behind the same door as all files from outside."""
        path = folder / "tokenizer.json"
        source, specials = _template_of(folder)
        if not path.is_file() or not source:
            log.info("tokens are reckoned from characters: %s has no tokenizer.json with a chat template", folder)
            return
        try:
            from tokenizers import Tokenizer

            check_model_file(path)
            check_chat_template(source, str(folder), specials)
            self._tokenizer = Tokenizer.from_file(str(path))
            self._render = _renderer(source, specials, self._contract)
        except ImportError:
            log.info("tokens are reckoned from characters: the library tokenizers is not installed")
        except Exception as error:  # noqa: BLE001 - the library raises bare exceptions; whoever opens the model says it
            log.info("tokens are reckoned from characters: %s", error)


def _renderer(source: str, specials: dict[str, str], contract: Contract) -> Callable[[Prompt], str]:
    with limited_rendering():
        template = chat_environment().from_string(source)

    def render(row: Prompt) -> str:
        messages = [template_message(dict(one)) for one in contract.messages(row)]
        return template.render(
            messages=messages, tools=list(row.tools) or None, documents=None, add_generation_prompt=True, **specials
        )

    return render


def _template_of(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the chat template of a model folder and the special tokens that it may name; an empty text where there is none."""
    told: Any = {}
    try:
        path = folder / "tokenizer_config.json"
        if path.is_file():
            check_model_file(path)
            told = json.loads(path.read_text("utf-8"))
        beside = folder / "chat_template.jinja"
        source = beside.read_text("utf-8") if beside.is_file() else told.get("chat_template")
    except (OSError, ValueError, AttributeError, PillmError) as error:
        log.info("the chat template of %s cannot be read: %s", folder, error)
        return "", {}
    if isinstance(source, list):  # several by name
        source = next((one.get("template") for one in source if isinstance(one, dict) and one.get("name") == "default"), "")
    named = {name: one.get("content") if isinstance(one := told.get(name), dict) else one for name in SPECIALS}
    return source if isinstance(source, str) else "", {name: one for name, one in named.items() if isinstance(one, str)}


def _answer(row: Prompt) -> str:
    told = row.given or (row.reference.message if row.reference else None)
    return _said(told) if told else ""


def _text(messages: Sequence[Message], roles: Sequence[str] = ()) -> str:
    return "".join(_said(one) for one in messages if not roles or one.get("role") in roles)


def _said(message: Message) -> str:
    calls = message.get("tool_calls") or ()
    told = (json.dumps(call.get("function", call), ensure_ascii=False) for call in calls)
    return str(message.get("content") or "") + "".join(told)
