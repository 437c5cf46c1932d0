"""The cache on disk: whole or not at all, and never read where it does not fit or is not what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_hf.distilling.targetcache import TargetCache, TargetWriter
from pillm_hf.distilling.targets import Targets, Vocabulary
from pillm_hf.losses.divergences import with_rest

import pillm

QWEN = Vocabulary("a" * 64, 151_936)
SMALL = Vocabulary("b" * 64, 50)


def made(n: int, k: int = 4, size: int = 50, seed: int = 0) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    best = (torch.rand(n, size, generator=generator) * 9).log_softmax(-1).topk(k)
    none = torch.zeros((n, 0), dtype=torch.int64)
    return Targets(best.indices, with_rest(best.values), none, none)


def write(path: Path, rows: dict[str, list[int]], vocabulary: Vocabulary = SMALL, k: int = 4) -> None:
    with TargetWriter(path, vocabulary, k=k) as writer:
        for seed, (name, ids) in enumerate(rows.items()):
            writer.add(name, ids, made(len(ids), k, vocabulary.size, seed))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 49), max_size=6), max_size=8))
def test_every_row_comes_back_under_its_id(tmp_path: Path, rows: dict[str, list[int]]) -> None:
    path = tmp_path / "targets.bin"
    write(path, rows)
    cache = TargetCache(path, SMALL)
    assert (len(cache), cache.positions) == (len(rows), sum(map(len, rows.values())))
    for seed, (name, ids) in enumerate(rows.items()):
        found = cache.get(name, ids)
        assert found is not None
        assert torch.equal(found.ids, made(len(ids), seed=seed).ids)
    assert cache.get("another row", [1]) is None


def test_fewer_positions_than_tokens_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "targets.bin"
    with TargetWriter(path, SMALL, k=4) as writer:
        writer.add("a", [5, 6, 7], made(2))
        with pytest.raises(pillm.DataError, match="row b: 3 distributions for 2 tokens"):
            writer.add("b", [5, 6], made(3))
    found = TargetCache(path, SMALL).get("a", [5, 6, 7])
    assert found is not None
    assert len(found) == 2


def test_one_id_may_stand_for_several_answers(tmp_path: Path) -> None:
    path = tmp_path / "targets.bin"
    with TargetWriter(path, SMALL, k=4) as writer:
        writer.add("a", [1, 2], made(2, seed=1))
        writer.add("a", [3, 4], made(2, seed=2))
    cache = TargetCache(path, SMALL)
    for seed, ids in ((1, [1, 2]), (2, [3, 4])):
        found = cache.get("a", ids)
        assert found is not None
        assert torch.equal(found.ids, made(2, seed=seed).ids)


def test_other_tokens_than_the_teachers_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": [1, 2]})
    with pytest.raises(pillm.DataError, match=r"row a: its answer has other tokens .* Make the cache again"):
        TargetCache(tmp_path / "t", SMALL).get("a", [1, 3])


def test_another_tokenizer_is_refused_with_advice(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": [1, 2]})
    with pytest.raises(pillm.DataError, match=r"another tokenizer.*sequence-level labels.*cross-tokenizer option"):
        TargetCache(tmp_path / "t", Vocabulary("c" * 64, 50))
    with pytest.raises(pillm.DataError, match="made for 50 ids, and the student has 64"):
        TargetCache(tmp_path / "t", Vocabulary("b" * 64, 64))


def test_a_cache_without_log_probabilities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="k is 0"):
        TargetWriter(tmp_path / "t", SMALL, k=0)


def test_at_k_32_short_answers_take_at_most_128_bytes_a_token(tmp_path: Path) -> None:
    write(tmp_path / "t", {f"row-{number}": list(range(8)) for number in range(40)}, QWEN, 32)
    assert 105 < TargetCache(tmp_path / "t", QWEN).bytes_per_token < 112


def test_what_fails_while_it_is_written_leaves_the_old_cache(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, {"a": [1, 2]})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), TargetWriter(path, SMALL, k=4) as writer:
        writer.add("b", [1], made(1))
        raise RuntimeError("stop")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t"
    write(path, {"a": [1, 2], "b": [3]})
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)

    def read() -> None:
        cache = TargetCache(path, SMALL)
        cache.get("a", [1, 2])
        cache.get("b", [3])

    with pytest.raises(pillm.DataError, match="damaged"):
        read()


def test_a_cache_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, {"a": [1, 2], "b": [3]})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(pillm.DataError, match=r"damaged or no cache .*Make the cache again"):
            TargetCache(path, SMALL)
    path.unlink()
    with pytest.raises(pillm.DataError, match="damaged or no cache"):
        TargetCache(path, SMALL)


def test_a_cache_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm_hf.distilling.targetcache.VERSION", 2)
    write(tmp_path / "t", {"a": [1]})
    monkeypatch.undo()
    with pytest.raises(pillm.DataError, match="version 2, this pillm reads 1"):
        TargetCache(tmp_path / "t", SMALL)


def test_the_header_says_what_the_file_is(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": [1]})
    text = (tmp_path / "t").read_bytes()
    header = json.loads(text[text.rindex(b'{"draws"') : -40])
    assert {name: header[name] for name in ("version", "tokenizer", "vocabulary", "k", "rows")} == {
        "version": 1, "tokenizer": "b" * 64, "vocabulary": 50, "k": 4, "rows": 1,
    }  # fmt: skip
