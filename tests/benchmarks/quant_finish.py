"""What quantising to 4 bit costs the nano student: the last half of its steps with rounded weights or not, at equal steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pillm
from tests.benchmarks.harness import Result
from tests.benchmarks.loopback.peers import folder

GOAL = 0.6
SHARE = 0.5
TYPES = ("Q4_0", "IQ4_NL")
PROMPTS = Path(__file__).parents[2] / "dataset" / "assistant" / "prompts.jsonl"
STUDENT = {
    "base": "nano-base", "num_train_epochs": 2, "per_device_train_batch_size": 32,
    "learning_rate": 3e-4, "embedding_learning_rate": 3e-3,
}  # fmt: skip
"""As in examples/quickstart.yaml, but without its `distill`: this student learns the labels alone."""
LIMIT = "the grid itself: sixteen values for each 32 weights; the learning rate falls to zero while weights find their places"


def run(quick: bool) -> Iterator[Result]:
    """Train one student without a finish and one for each type, and hold their losses on held-out rows against each other."""
    rows = labelled()
    rows = rows[::4] if quick else rows
    with TemporaryDirectory(prefix="pillm-") as place:
        work = Path(place)
        plain = trained(rows, work / "plain", {})
        told = {kind: shipped(rows, plain, kind) for kind in ("float", *TYPES)}
        scored = {} if quick else scores(rows, plain, work / "plain-files", TYPES)
        for kind in TYPES:
            name = f"with-{kind.lower()}"
            finished = trained(rows, work / name, {"quantization_aware": {"type": kind, "share": SHARE}})
            loss = shipped(rows, finished, kind)
            exact = {} if quick else scores(rows, finished, work / f"{name}-files", (kind,))
            yield Result(
                benchmark=f"quant-finish-{kind.lower().replace('_', '-')}",
                pillm=round(loss - told["float"], 6),
                peer=round(told[kind] - told["float"], 6),
                unit="nats above the float student",
                goal=GOAL,
                better="lower",
                peer_is=f"the same training without the finish, quantised to {kind} at its end",
                limit=LIMIT,
                versions=_versions(),
                details={
                    "share": SHARE,
                    "loss": {"float, without": told["float"], "file, without": told[kind], "file, with": loss},
                    "exact": {"file, without": scored.get(kind), "file, with": exact.get(kind)},
                },
            )


def labelled() -> list[pillm.Example]:
    """Return the bundled prompts with the nano teacher's answers, each on its side; they are asked for once and kept."""
    sides = pillm.split(pillm.read_prompts(PROMPTS), test=600, validation=200, by="group", seed=7)
    teacher = pillm.teacher("hf", model="nano-teacher", max_new_tokens=128)
    prompts = [prompt for side in sides.values() for prompt in side]
    found = pillm.label(prompts, teacher, out=folder().parent / "benchmarks" / "nano-labels")
    return list(found)


def trained(rows: list[pillm.Example], out: Path, more: dict[str, Any]) -> pillm.Checkpoint:
    """Return the student that comes of the rows that are not held out."""
    return pillm.train(rows, pillm.trainer("full", **STUDENT, **more), out, settings=pillm.Training(seed=7))


def shipped(rows: list[pillm.Example], student: pillm.Checkpoint, kind: str) -> float:
    """Return the loss per answer token of the held-out rows, with weights as a file of that type holds them."""
    import torch
    from pillm_hf.models.loading import load_model
    from pillm_hf.options.quantization import QuantizationAware
    from pillm_hf.rounding.finish import Finish
    from pillm_hf.rows.opening import load_chat
    from pillm_hf.rows.text import encode
    from pillm_hf.training.validating import validate

    chat, model = load_chat(student.path), load_model(student.path, torch.float32)
    encoded = encode([row for row in rows if row.prompt.split == "test"], pillm.Contract(), chat, 1024).rows
    finish = Finish(model, QuantizationAware(type="Q4_0" if kind == "float" else kind), torch.float32, torch.bfloat16)
    finish.start = 0 if kind != "float" else 1
    with finish.applied(0, exact=True):
        loss = validate(model, None, encoded, chat.pad_id, 64)["validation_loss"]
    if not math.isfinite(loss) or loss > 1:
        raise RuntimeError(f"a student with a loss of {loss} has learnt nothing; its quantisation cannot be judged")
    return round(loss, 6)


def scores(rows: list[pillm.Example], student: pillm.Checkpoint, out: Path, kinds: tuple[str, ...]) -> dict[str, float]:
    """Return how many of the held-out rows each exported file answers exactly as the reference."""
    found = {}
    prompts = [row.prompt for row in rows if row.prompt.split == "test"]
    for file in pillm.export(student, pillm.exporter("gguf", quants=list(kinds)), out):
        with pillm.runner("local", max_tokens=128).open(file) as session:
            scored = pillm.evaluate(prompts, session, [pillm.metric("exact")])
        found[str(file.quant)] = round(scored.metrics["exact"].mean, 4)
    return found


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "llama-cpp-python")}
