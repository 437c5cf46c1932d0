"""The verbs of pillm from Python, each with what it gives; runs offline with the tiny models that ship with pillm.

python examples/verbs.py [PROMPTS.jsonl] [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pillm

HERE = Path(__file__).parent


def main(prompts: Path, out: Path) -> None:
    """Label, train, export, evaluate and bench; print what matters."""
    teacher = pillm.teacher("hf", model="nano-teacher")
    sides = pillm.split(pillm.read_prompts(prompts), test=2, by="group", seed=7)

    examples = pillm.label(sides["train"], teacher, out / "label")
    print(f"labelled: {examples.counts}")

    checkpoint = pillm.train(examples, pillm.trainer("lora", base="nano-base", num_train_epochs=5), out / "train")
    models = pillm.export(checkpoint, pillm.exporter("gguf", quants=["Q8_0", "Q4_K_M"]), out / "export")

    runner = pillm.runner("local")
    metrics = [pillm.metric("exact"), pillm.metric("fields")]
    for model in models:
        with runner.open(model) as session:
            scores = pillm.evaluate(sides["test"], session, metrics, scope=pillm.Scope(subject=model.label, quant=model.quant))
        means = ", ".join(f"{name} {figure.mean:.2f}" for name, figure in scores.metrics.items())
        print(f"{model.label}: {model.bytes / 1e6:.1f} MB, {means or 'no reference to compare with'}")
        print(f"  here: {pillm.bench(model, runner, plan=pillm.BenchPlan(pp=64, tg=16, repetitions=2))}")
        print(f"  there: {pillm.plan(model, 'pi4-4gb').verdict}")


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    main(
        given[0] if given else HERE.parent / "pillm/cli/starter/prompts.jsonl",
        given[1] if len(given) > 1 else Path("runs/verbs"),
    )
