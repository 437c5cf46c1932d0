"""The token cache: what comes out of it is what tokenising gives, it is never out of date, and damage costs time only."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_hf import LoRA
from pillm_hf.rows import tokencache
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import encode
from pillm_hf.rows.tokencache import TokenCache, cache_folder, opened, row_key

import pillm

PLAIN = pillm.Contract()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tokencache, "FEWEST", 1)
    return tmp_path / "home" / "pillm" / "tokens"


@pytest.fixture(scope="module")
def chat(base: Path) -> Chat:
    return load_chat(base)


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts that a tokenizer was given."""
    seen: list[str] = []
    plain = Chat.encode

    def watched(self: Chat, texts: Any) -> list[list[int]]:
        seen.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(Chat, "encode", watched)
    return seen


def example(ask: str, answer: str, **more: Any) -> pillm.Example:
    return pillm.Example(
        prompt=pillm.Prompt(id=ask, messages=({"role": "user", "content": ask},), **more), answer=pillm.Answer(answer)
    )


def read(chat: Chat, rows: Any, max_length: int = 64, contract: pillm.Contract = PLAIN) -> Any:
    with opened(chat, 1, pytest.fail) as cache:
        return encode(rows, contract, chat, max_length, cache)


CALL = {"type": "function", "function": {"name": "set", "arguments": '{"b": 1, "a": "é"}'}}
# no row may hold half of a surrogate pair (category Cs): it is refused before it is written
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=12) | st.sampled_from(["a<|im_end|>b", " lac", "\n"])


@given(
    rows=st.lists(st.tuples(TEXT, TEXT.filter(str.strip), st.booleans()), max_size=8),
    again=st.permutations(range(8)),
    max_length=st.integers(8, 64),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_is_what_tokenising_gives(chat: Chat, rows: Any, again: list[int], max_length: int) -> None:
    made = [
        replace(example(ask, told), answer=pillm.Answer(told, tool_calls=(CALL,) if calls else ())) for ask, told, calls in rows
    ]
    fresh = encode(made, PLAIN, chat, max_length)
    assert read(chat, made, max_length) == fresh
    assert read(chat, made, max_length) == fresh
    order = [made[place] for place in again if place < len(made)]
    assert read(chat, order, 32) == encode(order, PLAIN, chat, 32)


def test_a_row_is_tokenised_once_and_a_row_that_is_added_costs_one(chat: Chat, tokenised: list[str]) -> None:
    rows = [example("vert", "rouge"), example("lac", "pont")]
    read(chat, rows)
    tokenised.clear()
    read(chat, rows, max_length=32)
    assert tokenised == []
    read(chat, [*rows, example("gare", "loup"), rows[0]])
    assert len(tokenised) == 2  # the whole, and what is asked
    assert all("gare" in text for text in tokenised)


@pytest.mark.parametrize(
    "changed",
    [
        example("vert", "rouge."),
        example("Vert", "rouge"),
        example("vert", "rouge", tools=({"type": "function", "function": {"name": "f"}},)),
        pillm.Example(prompt=example("vert", "").prompt, answer=pillm.Answer("rouge", tool_calls=(CALL,))),
        pillm.Example(prompt=example("vert", "").prompt, answer=pillm.Answer("rouge", reasoning="since")),
    ],
)
def test_every_change_of_a_row_is_another_row(chat: Chat, changed: pillm.Example, tokenised: list[str]) -> None:
    def key(row: pillm.Example) -> bytes:
        return row_key(PLAIN.conversation(row), row.prompt.tools, row.answer)

    assert key(changed) != key(example("vert", "rouge"))
    read(chat, [example("vert", "rouge")])
    tokenised.clear()
    assert read(chat, [changed]) == encode([changed], PLAIN, chat, 64)
    assert len(tokenised) == 4


def test_a_contract_that_says_more_is_another_row(chat: Chat, tokenised: list[str]) -> None:
    rows = [example("vert", "rouge")]
    read(chat, rows)
    told = pillm.Contract(system="Antworte kurz.")
    tokenised.clear()
    (row,) = read(chat, rows, contract=told).rows
    assert "Antworte" in row.text
    assert len(tokenised) == 2


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_another_tokenizer_or_template_reads_anew(name: str, base: Path, tmp_path: Path, home: Path) -> None:
    read(load_chat(base), [example("vert", "rouge")])
    other = shutil.copytree(base, tmp_path / "other")
    text = (other / name).read_text("utf-8")
    new = text.replace("message['content'] + '<|im_end|>'", "message['content'] + '!<|im_end|>'")
    if name == "tokenizer.json":  # two tokens change their places
        value = json.loads(text)
        vocabulary = value["model"]["vocab"]
        vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
        new = json.dumps(value)
    (other / name).write_text(new if new != text else text + "\n", "utf-8")
    chat = load_chat(other)
    assert read(chat, [example("vert", "rouge")]) == encode([example("vert", "rouge")], PLAIN, chat, 64)
    assert len(list(home.glob("*.sqlite"))) == 2


def test_a_template_that_writes_the_date_is_not_kept(make: Callable[..., Path], tmp_path: Path, home: Path) -> None:
    dated = (
        "{{- strftime_now('%d') -}}{%- for message in messages -%}{{- message['role'] + message['content'] + '<|im_end|>' -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- 'assistant' -}}{%- endif -%}"
    )
    read(load_chat(make(tmp_path / "dated", template=dated)), [example("vert", "rouge")])
    assert not home.exists()


def test_few_rows_are_not_kept(chat: Chat, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokencache, "FEWEST", 2)
    read(chat, [example("vert", "rouge")])
    assert not home.exists()


def test_the_folder_is_the_users_alone(chat: Chat, home: Path) -> None:
    read(chat, [example("vert", "rouge")])
    assert home == cache_folder()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_damaged_row_is_tokenised_again(chat: Chat, home: Path) -> None:
    rows = [example("vert", "rouge"), example("lac", "pont")]
    fresh = read(chat, rows)
    (path,) = home.glob("*.sqlite")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE rows SET reading = replace(reading, 'vert', 'noir')")
    file.close()
    assert read(chat, rows) == fresh
    assert read(chat, rows) == fresh


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_costs_time_only(chat: Chat, home: Path, data: st.DataObject) -> None:
    rows = [example(f"vert {number}", "rouge") for number in range(40)]
    fresh = read(chat, rows)
    (path,) = home.glob("*.sqlite")
    whole = path.read_bytes()
    place = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(whole))  # a draw must not depend on the size, which varies
    torn = data.draw(st.sampled_from([whole[:place], whole[:place] + bytes(64) + whole[place + 64 :]]))
    path.write_bytes(torn)
    for _ in range(2):
        with opened(chat, 40, lambda _: None) as cache:
            assert encode(rows, PLAIN, chat, 64, cache) == fresh


def test_a_file_that_is_none_is_made_anew_with_a_warning(chat: Chat, home: Path, tokenised: list[str]) -> None:
    read(chat, [example("vert", "rouge")])
    (path,) = home.glob("*.sqlite")
    path.write_bytes(b"no database at all" * 99)
    told: list[str] = []
    with opened(chat, 1, told.append) as cache:
        assert len(encode([example("vert", "rouge")], PLAIN, chat, 64, cache).rows) == 1
    assert len(told) == 1
    assert "was damaged and is made anew" in told[0]
    read(chat, [example("vert", "rouge")])
    tokenised.clear()
    read(chat, [example("vert", "rouge")])
    assert tokenised == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux: /proc/self is a folder where nobody may write")
def test_a_folder_that_cannot_be_written_is_told_of_and_done_without(chat: Chat, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self/none")
    told: list[str] = []
    with opened(chat, 1, told.append) as cache:
        assert len(encode([example("vert", "rouge")] * 2, PLAIN, chat, 64, cache).rows) == 2
    assert len(told) == 1
    assert "rows are tokenised without it" in told[0]


def test_what_was_used_longest_ago_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    monkeypatch.setattr(tokencache, "MOST_BYTES", 250)
    TokenCache(tmp_path / "new.sqlite", pytest.fail).close()
    assert {path.name for path in tmp_path.iterdir()} == {"1.sqlite", "2.sqlite", "new.sqlite"}


def test_a_second_training_on_the_same_rows_tokenises_none(
    base: Path, data: pillm.TrainingData, tmp_path: Path, tokenised: list[str], home: Path
) -> None:
    made = []
    for number in range(3):
        out = tmp_path / f"out-{number}"
        out.mkdir()
        tokenised.clear()
        LoRA(base=str(base), num_train_epochs=1, token_cache=number < 2).train(data, out, pillm.Progress())
        made.append(
            (len(tokenised), (out / "probes.jsonl").read_bytes(), (out / "adapter" / "adapter_model.safetensors").read_bytes())
        )
    assert made[1][0] < made[0][0] <= made[2][0]  # the two sides may share rows
    assert made[0][1:] == made[1][1:] == made[2][1:]
