from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.gates import logits
from pillm_llamacpp.gates.checks import Findings
from pillm_llamacpp.workers.client import Worker

import pillm

Proof = tuple[Path, Converted, Findings]


def table_of(proof: Proof) -> Any:
    """Return the checkpoint's logits as (places, vocabulary)."""
    return np.fromfile(proof[1].reference, "<f4").reshape(-1, proof[1].predicted[0]["width"])


def check(proof: Proof, tmp_path: Path, table: Any) -> pillm.Agreement:
    """Judge the file against a table of logits."""
    path, made, _ = proof
    table.tofile(tmp_path / "reference.f32")
    with Worker("a test") as worker:
        worker.ask(op="open", path=str(path), threads=1, context=80, parallel=1)
        return logits.check(worker, path, made._replace(reference=tmp_path / "reference.f32"), pillm.Progress())


def test_a_faithful_file_is_within_the_bounds_at_every_place(proof: Proof, tmp_path: Path) -> None:
    near = check(proof, tmp_path, table_of(proof))
    assert near.places == sum(row["places"] for row in proof[1].predicted) > 100
    peak = float(np.abs(table_of(proof) - table_of(proof).mean(axis=1, keepdims=True)).max())
    assert 0 < near.largest < logits.largest_allowed([{"peak": peak}]) < 0.1
    assert near.top1 is not None
    assert near.kld is not None
    assert near.top1 + near.ties / near.places > logits.TOP1
    assert near.kld < 1e-4


def test_one_logit_that_is_off_is_found_with_its_place(proof: Proof, tmp_path: Path) -> None:
    table = table_of(proof)
    table[proof[1].predicted[0]["places"] + 3, 7] -= 0.5
    with pytest.raises(pillm.BackendError, match=r"differ by 0\.\d+ at token 3 of conversation 2; rounding explains 0\.0\d+"):
        check(proof, tmp_path, table)


def test_another_choice_between_two_near_tokens_is_a_tie(proof: Proof, tmp_path: Path) -> None:
    table = table_of(proof)
    best = np.sort(table, axis=1)
    gaps = best[:, -1] - best[:, -2]
    place = int(gaps.argmin())
    assert gaps[place] < 1.5 * logits.LARGEST, "no two tokens are near enough: choose another seed"
    before = check(proof, tmp_path, table)
    second, first = table[place].argsort()[-2:]
    table[place, second] += gaps[place] / 2 + 1e-3
    table[place, first] -= gaps[place] / 2
    after = check(proof, tmp_path, table)
    assert abs(after.ties - before.ties) == 1
    assert after.places == before.places


def test_a_number_that_is_none_is_told_apart_from_a_wrong_one(proof: Proof, tmp_path: Path) -> None:
    table = table_of(proof)
    table[0, 0] = np.nan
    with pytest.raises(pillm.BackendError, match="the checkpoint computes NaN or infinite logits at token 0 of conversation 1"):
        check(proof, tmp_path, table)


def test_the_bound_grows_with_the_logits_and_never_below_its_least() -> None:
    assert logits.largest_allowed([{"peak": 1.0}]) == logits.LARGEST
    assert logits.largest_allowed([{"peak": 1.0}, {"peak": 4 * logits.PEAK}]) == pytest.approx(4 * logits.LARGEST)
    assert logits.largest_allowed([]) == logits.LARGEST
