from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.gates import parity, trial
from pillm_llamacpp.gates.checks import Findings
from pillm_llamacpp.gates.proving import Proof

import pillm

Made = tuple[Path, Converted, Findings]
Files = dict[str, pillm.ModelFile]


def attempt(proof: Made, checkpoint: pillm.Checkpoint, path: Path) -> pillm.Agreement | None:
    near = pillm.Agreement(places=1, largest=0.0, top1=1.0, kld=0.0)
    told = Proof(pillm.Parity(rows=1, mismatches=0), near, parity.rows_of(checkpoint), proof[1])
    return trial.attempt(path, told, threads=1)


def test_a_sound_file_answers_and_is_compared_on_two_rows(proof: Made, checkpoint: pillm.Checkpoint, exported: Files) -> None:
    near = attempt(proof, checkpoint, exported["Q4_K_M"].path)
    assert near
    assert near.places == sum(row["places"] for row in proof[1].predicted[:2])
    assert near.kld is not None
    assert near.kld > 0


def test_a_file_that_was_cut_does_not_load(proof: Made, checkpoint: pillm.Checkpoint, exported: Files, tmp_path: Path) -> None:
    whole = exported["Q8_0"].path.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(pillm.PillmError, match=r"the trial of cut\.gguf: "):
        attempt(proof, checkpoint, tmp_path / "cut.gguf")


def test_a_file_that_takes_too_long_is_ended_and_said_to(
    proof: Made, checkpoint: pillm.Checkpoint, exported: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    with pytest.raises(pillm.BackendError, match=r"the trial of tiny-Q8_0\.gguf: it gave no answer within 0\.01 s"):
        attempt(proof, checkpoint, exported["Q8_0"].path)
