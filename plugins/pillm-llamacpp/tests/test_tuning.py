"""What tensors lose is measured by real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.choosing.losses import Matrix
from pillm_llamacpp.choosing.trials import Bench, Mix
from pillm_llamacpp.choosing.tuning import Tuning
from pillm_llamacpp_benching import bench_of

import pillm

PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
MATRICES = tuple(
    Matrix(name=f"blk.{layer}.{part}.weight", columns=256, weights=256 * (128 if part in ("attn_k", "attn_v") else 256))
    for layer in range(2)
    for part in PARTS
)
HEAD = Matrix(name="token_embd.weight", columns=256, weights=0)


@pytest.fixture(scope="module")
def bench(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(exported["F16"].path, tmp_path_factory.mktemp("bench"), weighed=True, rounded=True)


@pytest.mark.full
def test_a_searched_file_beats_llamas_mix_of_its_size(bench: Bench) -> None:
    profile = pillm.device(bench.device)
    tuning = Tuning(bench, MATRICES, profile, probes=4)
    assert len(tuning.grouped) == 7, "no group mixes parts"
    allocations = tuning.allocations()
    assert bench.made == {}, "no file is left of what was measured"
    budget = sum(one.weights for one in MATRICES) // 32 * 18
    types = allocations.within(budget)
    assert types is not None
    assert set(types) == {one.name for one in MATRICES}
    rest = {"token_embd.weight": "F16"}
    plain = {one.name: "Q4_0" for one in MATRICES}
    before = bench.divergence(Mix(name="plain", quant="Q8_0", types={**rest, **plain}, imatrix=True))
    after = bench.divergence(Mix(name="tuned", quant="Q8_0", types={**rest, **types}, imatrix=True, rounded=True))
    assert after < before


def test_more_bits_never_err_more_in_the_same_family(bench: Bench) -> None:
    tuning = Tuning(bench, MATRICES[:3], pillm.device(bench.device), probes=1)
    for errors in tuning._errors().values():
        assert errors["Q3_K"] > errors["Q4_0"] > errors["Q5_0"] > errors["Q8_0"] > 0


@pytest.mark.full
def test_what_does_not_help_is_dropped_and_said(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    notes: list[str] = []
    bench = bench_of(exported["F16"].path, tmp_path, weighed=True, rounded=True)
    bench.progress = pillm.Progress("export", (lambda event: notes.append(event.message) if event.kind == "note" else None,))
    tuning = Tuning(bench, MATRICES, pillm.device("pi4-4gb"), probes=1)
    tuning.settle()
    assert len(notes) == 2
    for note, used in zip(notes, (bench.imatrix is not None, bench.rounds), strict=True):
        before, after = (float(word) for word in note.split(" from ")[1].split(" nats")[0].split(" to "))
        assert (after < before and "beyond chance" in note) == used == ("is used" in note)
    assert [one["used"] for one in tuning.decisions] == [bench.imatrix is not None, bench.rounds]
    assert all(one["rows"] == 12 for one in tuning.decisions)
    assert bench.rounds, "rounding with the activations in mind helps even random weights"


def test_the_files_that_will_be_made_are_counted(bench: Bench) -> None:
    tuning = Tuning(bench, MATRICES, pillm.device("pi4-4gb"), probes=14)
    assert tuning.files == 14 + 11 + 4
    assert Tuning(bench, MATRICES, pillm.device("pi4-4gb"), probes=0).grouped == []
