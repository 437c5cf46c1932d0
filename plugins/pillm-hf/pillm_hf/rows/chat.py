"""A tokenizer with its chat template: the one place where messages become text and token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pillm

_MEGABYTES = 256  # a template that passed its trial may still misbehave over one row
_MARK = "zq7pillm7qz"  # stands for an answer; no template contains it


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The token that ends an assistant's turn, and whether the chat template writes it itself."""

    token: str
    id: int
    written: bool


class Chat:
    """Renders conversations with a model's own chat template, and encodes them."""

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        self.tokenizer = tokenizer
        self.folder = folder
        if not isinstance(tokenizer.chat_template, (str, dict)) or not tokenizer.chat_template:
            raise pillm.DataError(
                f"{folder} has no chat template, so nobody knows how it marks who speaks. Choose an instruct model, "
                "or put the right chat_template.jinja beside its tokenizer."
            )

    @property
    def template(self) -> str:
        """Return the chat template's text."""
        return str(self.tokenizer.get_chat_template())

    def prompt(self, messages: Iterable[pillm.Message], tools: Sequence[Any] = ()) -> str:
        """Return the text that a model continues; raise DataError where the template refuses the messages."""
        return self._render(messages, tools, add_generation_prompt=True)

    def conversation(self, messages: Iterable[pillm.Message], tools: Sequence[Any] = ()) -> str:
        """Return the text of a whole conversation; raise DataError where the template refuses the messages."""
        text = self._render(messages, tools, add_generation_prompt=False)
        return text if self.end_of_turn.written else text + self.end_of_turn.token

    def marked_prompt(self, messages: Iterable[pillm.Message], tools: Sequence[Any] = ()) -> str | None:
        """Return a conversation's text up to the last answer that the template marks as generated, or None without marks."""
        if "endgeneration" not in self.template:
            return None
        from transformers.utils.chat_template_utils import render_jinja_template

        plain = [pillm.template_message(message) for message in messages]
        with pillm.limited_rendering(megabytes=_MEGABYTES):
            texts, spans = render_jinja_template(
                [plain],
                tools=list(tools) or None,
                chat_template=self.tokenizer.get_chat_template(tools=list(tools) or None),
                return_assistant_tokens_mask=True,
                **self.tokenizer.special_tokens_map,
            )
        return str(texts[0])[: spans[0][-1][0]] if spans[0] else None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of rendered texts; the template has written every special token already."""
        if not texts:
            return []
        made = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return [self.shared(ids) for ids in made]

    def shared(self, ids: Iterable[int]) -> list[int]:
        """Return ids as a list whose numbers are the same objects each time: large data sets take a fifth of the memory."""
        numbers = self._numbers
        return [numbers[index] for index in ids]

    @cached_property
    def _numbers(self) -> list[int]:
        return list(range(max(self.tokenizer.get_vocab().values()) + 1))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @cached_property
    def end_of_turn(self) -> EndOfTurn:
        """Return the token that ends an assistant's turn; raise DataError where the tokenizer has none."""
        ask = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        after = self._render(ask, (), add_generation_prompt=False).rpartition(_MARK)[2]
        special = {str(token): index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        found = [(after.find(token), -len(token), token) for token in special if token in after]
        if found:
            token = min(found)[2]
            return EndOfTurn(token, special[token], written=True)
        eos = self.tokenizer.eos_token
        if not eos:
            raise pillm.DataError(
                f"{self.folder}: the chat template writes no special token after an answer and the tokenizer has no "
                "eos_token, so a student could never learn to stop. Set eos_token in tokenizer_config.json."
            )
        return EndOfTurn(str(eos), int(self.tokenizer.eos_token_id), written=False)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Return the ids that end an answer: end of turn, end of text, and what generation_config.json names."""
        ids = {self.end_of_turn.id}
        if self.tokenizer.eos_token_id is not None:
            ids.add(int(self.tokenizer.eos_token_id))
        for name in ("generation_config.json", "config.json"):
            path = self.folder / name
            eos = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.is_file() else None
            ids |= {int(index) for index in (eos if isinstance(eos, list) else [eos]) if index is not None}
        return frozenset(ids)

    @property
    def pad_id(self) -> int:
        """Return an id to fill short rows with; attention never sees it."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.stop_ids)

    @cached_property
    def tokenizer_hash(self) -> str:
        """Return `pillm.tokenizer_hash` of tokenizer.json, or a hash of the vocabulary where there is no such file."""
        path = self.folder / "tokenizer.json"
        if path.is_file():
            return pillm.tokenizer_hash(path)
        return hashlib.sha256(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()

    def _render(self, messages: Iterable[pillm.Message], tools: Sequence[Any], **settings: Any) -> str:
        try:
            with pillm.limited_rendering(megabytes=_MEGABYTES):
                return str(
                    self.tokenizer.apply_chat_template(
                        [pillm.template_message(message) for message in messages],
                        tools=list(tools) or None,
                        tokenize=False,
                        **settings,
                    )
                )
        except Exception as error:
            raise _refused(error, self.folder) from error


def _refused(error: Exception, folder: Path) -> pillm.DataError:
    return pillm.DataError(f"the chat template of {folder.name} refuses the messages ({error}). Change their roles.")
