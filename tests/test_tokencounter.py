"""Tokens are counted as the student reads them, or reckoned, which is said."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.contract import Contract
from pillm.records import Prompt, Reference
from pillm.tokencounter import CHARACTERS, OPENING, TURN, TokenCounter

tokenizers = pytest.importorskip("tokenizers", reason="not installed: tokenizers")
pytest.importorskip("pillm_nano", reason="not installed: pillm-nano")

SYSTEM = "Tu es un assistant domotique. Réponds en JSON."


@pytest.fixture(scope="module")
def nano() -> Path:
    """Return the folder of the student base that comes with pillm-nano."""
    folder = pillm.model_folder("nano-base")
    assert folder is not None
    return folder


def ask(text: str, answer: str = "") -> Prompt:
    told = Reference(message={"role": "assistant", "content": answer}) if answer else None
    return Prompt(id=text[:9], messages=({"role": "user", "content": text},), reference=told)


def test_prompts_are_counted_with_their_template_and_answers_with_their_end(nano: Path) -> None:
    counter = TokenCounter(Contract(), nano)
    plain = tokenizers.Tokenizer.from_file(str(nano / "tokenizer.json"))
    asked, said = "allume la lampe du salon", '{"name":"light"}'
    rendered = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    assert not counter.estimated
    assert counter.prompts([ask(asked)]) == [len(plain.encode(rendered).ids)]
    assert counter.answers([ask(asked, said), ask(asked)]) == [len(plain.encode(said).ids) + 1, 0]


def test_what_the_contract_adds_is_counted_and_is_the_prefix(nano: Path) -> None:
    rows = [ask("allume la lampe"), ask("éteins tout"), ask("quelle heure est-il?")]
    plain, told = TokenCounter(Contract(), nano), TokenCounter(Contract(system=SYSTEM), nano)
    added = told.prompts(rows)[0] - plain.prompts(rows)[0]
    assert added > len(SYSTEM) / 10
    assert plain.shared(rows) == 0, "the template's own first tokens are no prefix worth keeping"
    assert added <= told.shared(rows) <= min(told.prompts(rows))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_the_shared_tokens_are_those_that_every_prompt_begins_with(texts: list[str]) -> None:
    folder = pillm.model_folder("nano-base")
    counter = TokenCounter(Contract(system="Sois bref."), folder)
    rows = [ask(text or "?") for text in texts]
    assert 0 < counter.shared(rows) <= min(counter.prompts(rows))


def test_without_a_tokenizer_a_token_is_so_many_characters_and_a_message_has_its_marks(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        counter = TokenCounter(Contract(), folder)
        assert counter.estimated
        assert counter.prompts([ask("x" * 40)]) == [40 // CHARACTERS + TURN + OPENING]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ ''.__class__.__base__.__subclasses__() }}"),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}"),
        lambda folder: (folder / "chat_template.jinja").unlink(),
        lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
    ],
)
def test_what_cannot_be_opened_or_rendered_leaves_a_reckoning_and_says_why(
    nano: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(nano / name, folder)
    assert callable(damage)
    damage(folder)
    with caplog.at_level(logging.INFO):
        counter = TokenCounter(Contract(), folder)
        found = counter.prompts([ask("x" * 40)])
    assert found == [40 // CHARACTERS + TURN + OPENING]
    assert counter.estimated
    assert "reckoned from characters" in caplog.text or "cannot be read" in caplog.text


def test_a_template_that_is_named_in_the_configuration_will_do(nano: Path, tmp_path: Path) -> None:
    shutil.copy(nano / "tokenizer.json", tmp_path)
    source = (nano / "chat_template.jinja").read_text()
    for told in (source, [{"name": "tool_use", "template": "x"}, {"name": "default", "template": source}]):
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps({"eos_token": {"content": "<|im_end|>"}, "chat_template": told})
        )
        counter = TokenCounter(Contract(), tmp_path)
        assert counter.prompts([ask("bonjour")]) == TokenCounter(Contract(), nano).prompts([ask("bonjour")])
