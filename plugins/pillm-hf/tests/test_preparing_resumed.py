"""A distillation that was killed goes on to the same bits; targets that stand are used, damaged ones are not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pillm_hf import LoRA
from pillm_hf.distilling import preparing
from pillm_hf.training.checkpoints import FOLDER
from pillm_hf.training.loop import Loop
from pillm_hf_taught import SOURCES, options, run

import pillm


def killed(kind: str, base: Path, data: pillm.TrainingData, out: Path, place: str, number: int) -> int:
    """Train in a process of its own that kills itself the n-th time that it comes to a place; return its exit code."""

    def work() -> None:
        left = [number]

        def watched(owner: Any, name: str) -> None:
            plain = getattr(owner, name)

            def watching(*args: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return plain(*args, **more)

            setattr(owner, name, watching)

        if place == "pass":
            watched(Loop, "_loss")
        elif place == "save":
            watched(os, "fsync")
        else:
            watched(pillm, "sha256_file")
        out.mkdir(exist_ok=True)
        run(LoRA(base=str(base), dropout=0.1, **options(kind)), data, out)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return int(process.exitcode or 0)


FAST = ("labels",)  # the one that needs no teacher any more


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in FAST else pytest.mark.full) for kind in SOURCES])
def test_killed_it_goes_on_to_the_same_bits(kind: str, base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    assert killed(kind, base, taught, tmp_path / "whole", "pass", 0) == 0
    weights = (tmp_path / "whole" / "adapter" / "adapter_model.safetensors").read_bytes()
    log = json.loads((tmp_path / "whole" / "training.json").read_text("utf-8"))

    def losses(said: dict[str, Any]) -> list[Any]:
        return [{name: value for name, value in entry.items() if name != "seconds"} for entry in said["log"]]

    targets = 2 if LoRA(base=str(base), **options(kind)).distill.ahead else 0  # writing them flushes a file and a folder first
    places = [("pass", 1), ("pass", 12), ("save", 4 + targets)] + ([("targets", 1)] if kind in ("labels", "draws") else [])
    for place, number in places:
        out = tmp_path / f"{place}-{number}"
        assert killed(kind, base, taught, out, place, number) == -signal.SIGKILL, (place, number)
        assert killed(kind, base, taught, out, "pass", 0) == 0
        assert (out / "adapter" / "adapter_model.safetensors").read_bytes() == weights, (place, number)
        assert losses(json.loads((out / "training.json").read_text("utf-8"))) == losses(log), (place, number)
        assert not (out / preparing.FOLDER).exists()


def test_targets_that_stand_are_not_made_again_and_damaged_ones_are(
    base: Path, taught: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    plain = preparing.cache_labels

    def counting(*args: Any, **more: Any) -> Any:
        made.append(1)
        return plain(*args, **more)

    monkeypatch.setattr(preparing, "cache_labels", counting)
    assert killed("labels", base, taught, tmp_path / "out", "pass", 1) == -signal.SIGKILL
    path = tmp_path / "out" / preparing.FOLDER / "targets.bin"
    content = path.read_bytes()

    def stopped(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_loss", stopped)
    for damage, expected in ((False, 0), (True, 1)):
        if damage:
            path.write_bytes(content[:-9])
        with pytest.raises(KeyboardInterrupt):
            run(LoRA(base=str(base), dropout=0.1, **options("labels")), taught, tmp_path / "out")
        assert len(made) == expected
        assert path.read_bytes() == content


def test_checkpoints_of_other_targets_are_refused(base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed("labels", base, taught, out, "pass", 12) == -signal.SIGKILL
    assert list((out / FOLDER).glob("step-*"))
    preparing.remove(out)
    assert taught.stored is not None

    def turned(place: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        """Return the same tokens, the likeliest now the least likely."""
        return tuple((token, value) for (token, _), (_, value) in zip(place, place[::-1], strict=True))

    swapped = [
        replace(row, answer=replace(row.answer, logprobs=tuple(map(turned, row.answer.logprobs or ()))))
        for row in taught.stored
    ]
    with pytest.raises(pillm.ConfigError, match="is of a training with other rows, options or versions"):
        run(LoRA(base=str(base), dropout=0.1, **options("labels")), replace(taught, stored=swapped), out)
