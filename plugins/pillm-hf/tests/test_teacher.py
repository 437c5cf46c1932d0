"""The teacher: same answers whatever the batch, draws that belong to the request, log-probabilities on the way."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pillm_hf import HFTeacher
from pillm_hf.answering.choosing import Sampling, choose
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat

import pillm


def teacher(base: Path, **options) -> HFTeacher:
    return HFTeacher(**{"model": str(base), "dtype": "float32", "max_new_tokens": 12, **options})


def answers(made: HFTeacher, requests: list[pillm.Request]) -> dict[str, pillm.Answer]:
    return {request.prompt.id: answer for request, answer in made.answer(iter(requests))}


def test_greedy_answers_are_those_of_generate(base: Path, requests: list[pillm.Request]) -> None:
    got = answers(teacher(base), requests[:4])
    model, chat = load_model(base, torch.float32), load_chat(base)
    for request in requests[:4]:
        ids = torch.tensor(chat.encode([chat.prompt(request.messages)]))
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        answer = got[request.prompt.id]
        assert list(answer.token_ids) == theirs[0, ids.shape[1] :].tolist()
        assert answer.usage == pillm.Usage(prompt_tokens=ids.shape[1], completion_tokens=len(answer.token_ids))
        assert answer.finish_reason == ("stop" if answer.token_ids[-1] == 2 else "length")
        assert answer.model == base.name
        assert answer.tokenizer_hash == chat.tokenizer_hash


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.9, "top_k": 40, "seed": 5}])
def test_the_batch_size_changes_no_answer(base: Path, requests: list[pillm.Request], options: dict) -> None:
    made = [answers(teacher(base, batch_size=size, **options), requests) for size in (1, 3, 64)]
    tokens = [{name: answer.token_ids for name, answer in one.items()} for one in made]
    assert tokens[0] == tokens[1] == tokens[2]
    assert len(tokens[0]) == len(requests)


def test_draws_differ_by_seed_and_sample(base: Path, requests: list[pillm.Request]) -> None:
    from dataclasses import replace

    def first(seed: int, sample: int) -> tuple[int, ...]:
        asked = [replace(requests[0], sample=sample)]
        return answers(teacher(base, temperature=1.5, seed=seed), asked)["p0"].token_ids

    assert first(0, 0) == first(0, 0)
    assert len({first(0, 0), first(1, 0), first(0, 1)}) == 3


def test_top_p_and_top_k_cut_the_tail() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(100, 1)
    draws = torch.arange(100) / 100

    def chosen(**options) -> set[int]:
        return set(choose(logits, draws, Sampling(temperature=1.0, **options)).tolist())

    assert chosen() == {0, 1, 2, 3}
    assert chosen(top_k=2) == {0, 1}
    assert chosen(top_p=0.6) == {0, 1}
    assert chosen(top_p=0.01) == {0}
    share = (choose(logits, draws, Sampling(temperature=1.0)) == 0).float().mean()
    assert float(share) == pytest.approx(0.5, abs=0.02)


def test_logprobs_are_ordered_and_the_best_is_the_token_that_was_chosen(base: Path, requests: list[pillm.Request]) -> None:
    for answer in answers(teacher(base, logprobs=5), requests[:3]).values():
        assert len(answer.logprobs) == len(answer.token_ids)
        for token, best in zip(answer.token_ids, answer.logprobs, strict=True):
            values = [value for _, value in best]
            assert len(best) == 5
            assert best[0][0] == token
            assert values == sorted(values, reverse=True)
            assert 0 < sum(map(math.exp, values)) <= 1 + 1e-5


def test_logprobs_are_those_of_a_whole_softmax() -> None:
    from pillm_hf.answering.choosing import alternatives

    torch.manual_seed(0)
    logits = torch.randn(5, 300) * 8
    values, ids = logits.log_softmax(-1).topk(7, dim=-1)
    got = alternatives(logits, 7)
    assert [[token for token, _ in row] for row in got] == ids.tolist()
    torch.testing.assert_close(torch.tensor([[value for _, value in row] for row in got]), values)


def test_the_identity_ignores_batch_and_path_and_follows_the_weights(base: Path, make, tmp_path: Path) -> None:
    one = teacher(base).identity()
    assert teacher(base, batch_size=7, device_map="cpu").identity() == one
    assert teacher(shutil.copytree(base, tmp_path / "copy")).identity() == one
    assert teacher(make(tmp_path / "other", seed=1)).identity() != one
    assert teacher(base, max_new_tokens=13).identity() != one


def test_what_only_drawing_needs_is_in_the_identity_where_there_is_drawing(base: Path) -> None:
    assert teacher(base, seed=1, top_p=0.5, top_k=9).identity() == teacher(base).identity()
    warm = teacher(base, temperature=0.7).identity()
    for changed in ({"seed": 1}, {"top_p": 0.5}, {"top_k": 9}):
        assert teacher(base, temperature=0.7, **changed).identity() != warm


def test_the_estimate_is_a_quarter_of_the_characters_and_an_answer_of_that_length() -> None:
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "a" * 398},))
    request = pillm.Contract().request(prompt, {})
    assert HFTeacher(model="m").estimate(request) == pillm.Usage(prompt_tokens=100, completion_tokens=100)
    assert HFTeacher(model="m", max_new_tokens=9).estimate(request) == pillm.Usage(prompt_tokens=100, completion_tokens=9)


def test_at_most_a_window_is_pulled_ahead(base: Path, requests: list[pillm.Request]) -> None:
    pulled = 0

    def feed() -> Iterator[pillm.Request]:
        nonlocal pulled
        for request in requests:
            pulled += 1
            yield request

    next(iter(teacher(base, batch_size=2).answer(feed())))
    assert pulled <= 8


def test_pulled_rows_that_are_not_handed_back_are_never_more_than_four_batches(
    base: Path, requests: list[pillm.Request]
) -> None:
    pulled = most = back = 0

    def feed() -> Iterator[pillm.Request]:
        nonlocal pulled, most
        for request in requests:
            pulled += 1
            most = max(most, pulled - back)
            yield request

    for _ in teacher(base, batch_size=2).answer(feed()):
        back += 1
    assert back == len(requests)
    assert most <= 8


def test_a_system_prompt_that_all_share_changes_no_answer(base: Path) -> None:
    def asked(number: int) -> pillm.Request:
        said = ({"role": "system", "content": "lac pont neige " * 8}, {"role": "user", "content": f"mot {number}"})
        return pillm.Contract().request(pillm.Prompt(id=f"p{number}", messages=said), {"use": "test"})

    rows = [asked(number) for number in range(12)]
    alone = {name: answer for row in rows for name, answer in answers(teacher(base), [row]).items()}
    together = answers(teacher(base, batch_size=4), rows)
    assert {name: answer.token_ids for name, answer in together.items()} == {
        name: answer.token_ids for name, answer in alone.items()
    }


def test_little_memory_for_the_cache_slows_and_changes_nothing(
    base: Path, requests: list[pillm.Request], caplog: pytest.LogCaptureFixture
) -> None:
    held = answers(teacher(base, kv_memory=1, max_new_tokens=200, batch_size=16), requests)
    assert "kv_memory holds the cache of" in caplog.text
    free = answers(teacher(base, max_new_tokens=200, batch_size=16), requests)
    assert {name: one.token_ids for name, one in held.items()} == {name: one.token_ids for name, one in free.items()}
    assert teacher(base, kv_memory=1).identity() == teacher(base).identity()


def test_rows_that_fail_are_handed_back_before_more_are_pulled(make, tmp_path: Path, requests: list[pillm.Request]) -> None:
    refuses = "messages[0]['content'] != '?' and messages | length < 3"
    model = make(tmp_path / "never", template="{%- if " + refuses + " -%}{{ raise_exception('no') }}{%- endif -%}")
    pulled = 0

    def feed() -> Iterator[pillm.Request]:
        nonlocal pulled
        for request in requests:
            pulled += 1
            yield request

    results = teacher(model, batch_size=1).answer(feed())
    assert isinstance(next(results)[1], pillm.Failure)
    assert pulled <= 4
    assert len(list(results)) == len(requests) - 1


def test_open_keeps_the_model_between_calls(base: Path, requests: list[pillm.Request]) -> None:
    made = teacher(base)
    with made.open() as opened:
        loaded = opened._loaded
        answers(opened, requests[:1])
        assert opened._loaded is loaded
        assert opened.greedy()._loaded is loaded
    assert made._loaded is None


def test_a_prompt_that_does_not_fit_fails_alone(base: Path, requests: list[pillm.Request]) -> None:
    long = pillm.Prompt(id="long", messages=({"role": "user", "content": "lac " * 400},))
    got = answers(teacher(base), [pillm.Contract().request(long, {}), *requests[:2]])
    assert isinstance(got["long"], pillm.Failure)
    assert "Shorten it" in got["long"].message
    assert isinstance(got["p0"], pillm.Answer)


def test_a_template_that_refuses_a_row_fails_that_row_alone(make, tmp_path: Path, requests: list[pillm.Request]) -> None:
    strict = "{%- if messages[0]['content'] == 'vert onze' -%}{{ raise_exception('no') }}{%- endif -%}"
    model = make(tmp_path / "strict", template=strict + "{{- messages[0]['content'] + '<|im_end|>' -}}")
    got = answers(teacher(model), requests)
    failed = [name for name, answer in got.items() if isinstance(answer, pillm.Failure)]
    assert len(got) == len(requests)
    assert failed == ["p9"]
    assert got["p9"].kind == "invalid"


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_weights_in_4_and_8_bit_answer(base: Path, requests: list[pillm.Request], load_in: str) -> None:
    assert len(answers(teacher(base, load_in=load_in, max_new_tokens=2), requests[:2])) == 2


def test_the_teacher_says_where_its_model_comes_from(base: Path) -> None:
    assert teacher(base).origin() == pillm.Origin(name=base.name, folder=base)
    away = HFTeacher(model="nobody/has-this-one", revision="v1").origin()
    assert (away.name, away.revision, away.folder) == ("nobody/has-this-one", "v1", None)
