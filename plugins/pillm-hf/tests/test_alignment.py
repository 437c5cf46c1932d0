"""From labels to targets: what a teacher said is learnt where both wrote the same tokens, and told where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import HFTeacher
from pillm_hf.distilling.alignment import Alignment, cache_labels, positions_shared
from pillm_hf.distilling.targetcache import TargetCache
from pillm_hf.distilling.targets import Targets, Vocabulary
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from torch.nn.utils.rnn import pad_sequence

import pillm

PLAIN = pillm.Contract()


@pytest.fixture(scope="session")
def chat(base: Path) -> Chat:
    return load_chat(base)


@pytest.fixture(scope="session")
def vocabulary(chat: Chat) -> Vocabulary:
    return Vocabulary(chat.tokenizer_hash, len(chat.tokenizer))


def example_of(ask: str, said: str, name: str = "") -> pillm.Example:
    return pillm.Example(prompt=pillm.Prompt(id=name, messages=({"role": "user", "content": ask},)), answer=pillm.Answer(said))


@pytest.fixture
def labelled(chat: Chat, pairs: list[tuple[str, str]]) -> list[pillm.Example]:
    """Return examples as a teacher `hf` with logprobs=6 leaves them, end-of-turn token included."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for number, (ask, said) in enumerate(pairs):
        ids = (*chat.encode([said])[0], chat.end_of_turn.id)
        best = (torch.randn(len(ids), len(chat.tokenizer), generator=generator) * 3).log_softmax(-1).topk(6)
        logprobs = tuple(tuple(zip(*row, strict=True)) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True))
        made.append(example_of(ask, said, f"p{number}"))
        made[number:] = changed(
            made[number:], slice(None), token_ids=ids, logprobs=logprobs, tokenizer_hash=chat.tokenizer_hash
        )
    return made


def changed(examples: list[pillm.Example], which: slice, **changes: Any) -> list[pillm.Example]:
    made = list(examples)
    made[which] = [replace(example, answer=replace(example.answer, **changes)) for example in made[which]]
    return made


@pytest.fixture
def build(chat: Chat, vocabulary: Vocabulary, tmp_path: Path) -> Callable[..., tuple[Alignment, TargetCache, list[Encoded]]]:
    def call(examples: list[pillm.Example], **options: Any) -> tuple[Alignment, TargetCache, list[Encoded]]:
        rows = encode(examples, PLAIN, chat, 256).rows
        path = tmp_path / "targets.bin"
        return cache_labels(examples, rows, path, vocabulary, **options), TargetCache(path, vocabulary), rows

    return call


def targets_of(cache: TargetCache, row: Encoded) -> Targets:
    found = cache.get(row.id, row.ids[row.start : row.end])
    assert found is not None
    return found


def test_every_learnt_token_gets_what_the_teacher_said_there(labelled: list[pillm.Example], build) -> None:
    found, cache, rows = build(labelled)
    assert (found.rows, found.positions) == (len(rows), sum(row.end - row.start for row in rows))
    assert not found.left_out
    for row, example in zip(rows, labelled, strict=True):
        targets = targets_of(cache, row)
        assert targets.ids.tolist() == [[token for token, _ in place] for place in example.answer.logprobs or ()]
        stored = torch.tensor([[value for _, value in place] for place in example.answer.logprobs or ()])
        torch.testing.assert_close(targets.logprobs[:, :-1].exp(), stored.exp(), atol=0.02, rtol=0.05)
        torch.testing.assert_close(targets.logprobs[:, -1].exp(), 1 - stored.exp().sum(-1), atol=0.02, rtol=0.05)


@pytest.fixture(scope="session")
def scholar(make: Callable[..., Path], pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model that knows the twenty answers by heart."""
    from transformers import AutoModelForCausalLM

    folder = make(tmp_path_factory.mktemp("scholar") / "tiny")
    chat = load_chat(folder)
    rows = encode([example_of(*pair) for pair in pairs], PLAIN, chat, 256).rows
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True, padding_value=chat.pad_id)
    learnt = [torch.tensor([*[-100] * row.start, *row.ids[row.start : row.end]]) for row in rows]
    labels = pad_sequence(learnt, batch_first=True, padding_value=-100)
    labels = torch.nn.functional.pad(labels, (0, ids.shape[1] - labels.shape[1]), value=-100)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        model(input_ids=ids, attention_mask=(ids != chat.pad_id).long(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("most", [64, 8])
def test_a_real_teachers_answers_align_end_of_turn_included(
    scholar: Path, requests: list[pillm.Request], tmp_path: Path, most: int
) -> None:
    chat = load_chat(scholar)
    vocabulary = Vocabulary(chat.tokenizer_hash, len(chat.tokenizer))
    teacher = HFTeacher(model=str(scholar), dtype="float32", max_new_tokens=most, logprobs=8)
    examples = [pillm.Example(prompt=request.prompt, answer=answer) for request, answer in teacher.answer(iter(requests))]  # type: ignore[arg-type]
    rows = encode(examples, PLAIN, chat, 256).rows
    found = cache_labels(examples, rows, tmp_path / "t", vocabulary)
    cache = TargetCache(tmp_path / "t", vocabulary)
    assert (cache.layout.k, found.rows >= len(rows) * 0.8) == (8, True)
    ended = {example.prompt.id: example.answer.finish_reason == "stop" for example in examples}
    assert any(ended.values()) == (most == 64)
    for row in rows:
        targets = cache.get(row.id, row.ids[row.start : row.end])
        assert targets is None or len(targets) == row.end - row.start - (not ended[row.id])


def test_an_answer_that_was_cut_or_whose_end_is_not_told_has_no_target_there(labelled: list[pillm.Example], build) -> None:
    cut = [
        replace(
            example,
            answer=replace(
                example.answer, token_ids=(example.answer.token_ids or ())[:-1], logprobs=(example.answer.logprobs or ())[:-1]
            ),
        )
        for example in labelled
    ]
    found, cache, rows = build(cut)
    assert found.positions == sum(row.end - row.start - 1 for row in rows)
    assert all(len(targets_of(cache, row)) == row.end - row.start - 1 for row in rows)


@pytest.mark.parametrize(
    ("token_ids", "shared"),
    [
        ([5, 6, 2], 3), ([5, 6], 2), ([5, 6, 7], 2), ([5], 0), ([5, 6, 2, 2], 0), ([5, 9, 2], 0), ([], 0), ([9, 6, 2], 0),
    ],
)  # fmt: skip
def test_positions_are_shared_where_the_tokens_before_them_are(token_ids: list[int], shared: int) -> None:
    row = Encoded("r", (), "", [1, 1, 5, 6, 2, 3], 2, 5)
    assert positions_shared(token_ids, row) == shared


def test_fewer_ids_may_be_kept_than_were_stored(labelled: list[pillm.Example], build) -> None:
    assert build(labelled, k=3)[1].layout.k == 3
    assert build(labelled, k=99)[1].layout.k == 6


@pytest.mark.parametrize("many", [1, 9])
def test_rows_with_uncommonly_few_or_many_ids_do_not_decide_how_many_are_kept(
    labelled: list[pillm.Example], build, many: int
) -> None:
    other = tuple(tuple((token, -3.0) for token in range(many)) for _ in range(60))
    found, cache, _ = build(changed(labelled, slice(0, 3), logprobs=other))
    assert (cache.layout.k, found.rows) == (6, 17 if many < 6 else 20)


def test_rows_that_do_not_align_are_left_out_by_reason(labelled: list[pillm.Example], build) -> None:
    mixed = changed(labelled, slice(0, 1), token_ids=None)
    mixed = changed(mixed, slice(1, 3), logprobs=None)
    mixed = changed(mixed, slice(3, 4), tokenizer_hash="other")
    mixed = changed(mixed, slice(4, 5), token_ids=(5, 6, 7))
    mixed = changed(mixed, slice(5, 6), logprobs=tuple(((1, -0.1),) for _ in mixed[5].answer.token_ids or ()))
    mixed = changed(mixed, slice(6, 7), tokenizer_hash=None)
    found, cache, _ = build(mixed, k=4)
    assert {reason.partition(" (")[0]: count for reason, count in found.left_out.items()} == {
        "the answer is stored without token ids": 1,
        "the answer is stored without log-probabilities": 2,
        "the teacher has another tokenizer": 1,
        "the student writes the answer in other tokens": 1,
        "fewer than k=4 log-probabilities at a position": 1,
    }
    assert found.rows + found.left_out.total() == len(mixed)
    assert len(cache) == found.rows


def test_rows_that_are_not_trained_on_get_no_targets(
    labelled: list[pillm.Example], chat: Chat, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    rows = encode(labelled, PLAIN, chat, 256).rows[2:]
    found = cache_labels(labelled, rows, tmp_path / "t", vocabulary)
    assert dict(found.left_out) == {"the row is not trained on": 2}


def test_two_answers_under_one_id_get_their_own_targets(labelled: list[pillm.Example], build) -> None:
    same = [replace(example, prompt=replace(example.prompt, id="same")) for example in labelled[:2]]
    found, cache, rows = build(same)
    assert found.rows == 2
    for row, example in zip(rows, same, strict=True):
        assert targets_of(cache, row).ids[0].tolist() == [token for token, _ in (example.answer.logprobs or ())[0]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tokenizer_hash": "other"},
            r"only 0 of 20 rows .*20 rows: the teacher has another tokenizer.*cross-tokenizer option",
        ),
        ({"logprobs": None}, r"only 0 of 20 rows .*without log-probabilities \(label again with logprobs=16"),
        ({"logprobs": ((),) * 60}, "k is 0"),
    ],
)
def test_labels_of_which_nothing_aligns_are_refused_with_advice(
    labelled: list[pillm.Example], build, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(pillm.DataError, match=said):
        build(changed(labelled, slice(None), **changes))
    assert not (tmp_path / "targets.bin").exists()


def test_labels_of_which_less_than_half_aligns_are_refused(labelled: list[pillm.Example], build, tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"only 9 of 20 rows .*11 rows: the student writes the answer in other tokens"):
        build(changed(labelled, slice(0, 11), token_ids=(5,)))
    assert list(tmp_path.iterdir()) == []
    assert build(changed(labelled, slice(0, 10), token_ids=(5,)))[0].rows == 10


def test_padding_of_the_teachers_vocabulary_falls_to_the_rest(
    labelled: list[pillm.Example], build, vocabulary: Vocabulary
) -> None:
    first, *others = labelled[0].answer.logprobs or ()
    padded = (((vocabulary.size + 3, 0.5 + first[0][1]), *first), *others)
    found, cache, rows = build(changed(labelled, slice(0, 1), logprobs=padded), k=6)
    assert found.rows == len(rows)
    assert targets_of(cache, rows[0]).ids[0].tolist() == [token for token, _ in first]


def test_no_rows_are_an_error_that_says_so(vocabulary: Vocabulary, tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="there are no rows"):
        cache_labels([], [], tmp_path / "t", vocabulary)
