"""`pillm evaluate`: score subjects side by side on the same rows."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

import pillm
from pillm.artifacts import to_json
from pillm.backends import Teacher
from pillm.cli.choices import assignments, backend_option, out_folder, readable, schema_in_prompt, seed, system_message
from pillm.cli.scores import basis_line, differences_lines, scores_table
from pillm.cli.targets import contracts_for, name_and_options, runner_for, subject_of
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import ConfigError, DataError
from pillm.records import digest
from pillm.stages.predictions import compare, read_predictions
from pillm.stages.training import checkpoint_key
from pillm.store import made_by
from pillm.subjects import Scoring, Subject, ask_teacher, checkpoint_subject, model_subject, score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillm.artifacts import Evaluation
    from pillm.contract import Contract
    from pillm.records import Message, Prompt

DEFAULT_METRICS = ("exact", "json", "schema", "fields")


@cli_command("evaluate")
@click.argument("rows", type=readable(dir_okay=False))
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    required=True,
    metavar="S",
    help="What to score, repeated: a model file, a checkpoint, a hub's owner/name, or a teacher as NAME:option=value,...",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    default=DEFAULT_METRICS,
    show_default=True,
    help="A metric as NAME:option=value,..., repeated.",
)
@backend_option("runner", required=False, more=" opens files and checkpoints; by default one that reads them")
@assignments("runner")
@out_folder(required=False, help="Keep the predictions of each subject here; what stands there is not asked again.")
@click.option("--split", metavar="NAME", help="Only the rows of this split, such as test.")
@click.option("--limit", type=click.IntRange(1), help="Score only the first N rows.")
@seed
@schema_in_prompt()
@system_message()
@click.pass_obj
def command(terminal: Terminal, /, rows: Path, subjects: tuple[str, ...], **chosen: Any) -> None:
    """Score each --subject on ROWS (JSONL), greedily, with 95 % intervals, and the paired difference to the first one."""
    if chosen["out"] and (maker := made_by(chosen["out"])):
        raise ConfigError(f"{chosen['out']} holds what `{maker}` made; it is left alone. Choose another --out.")
    sets = {rows.stem: _rows(rows, chosen["split"], chosen["limit"])}
    names = list(dict.fromkeys(subjects))
    built = {name: subject_of(name, terminal) for name in names}
    contracts = contracts_for(built, chosen)
    _tell_contracts(terminal, contracts)
    scorer = _Scorer(terminal, chosen, sets, contracts)
    with ExitStack() as stack:
        out = chosen["out"] or Path(stack.enter_context(TemporaryDirectory(prefix="pillm-evaluate-")))
        found = {}
        # teachers first: rows without a reference are compared with their answers
        for name in sorted(names, key=lambda name: not isinstance(built[name], Teacher)):
            found[name] = scorer.score(name, built[name], out)
        evaluations = _told_apart({name: found[name] for name in names})
        first, *others = [read_predictions(one.predictions or "") for one in evaluations]
        differences = [compare(first, other, seed=chosen["seed"]) for other in others]
    document = {
        "evaluations": [to_json(one if chosen["out"] else replace(one, predictions=None)) for one in evaluations],
        "differences": [
            {"left": evaluations[0].subject, "right": other.subject, "metrics": {name: asdict(one) for name, one in by.items()}}
            for other, by in zip(evaluations[1:], differences, strict=True)
        ],
    }
    terminal.result(document, scores_table(evaluations), basis_line(evaluations), *differences_lines(evaluations, differences))


def _rows(path: Path, split: str | None, limit: int | None) -> list[Prompt]:
    prompts = [prompt for prompt in pillm.read_prompts(path) if split in (None, prompt.split)][:limit]
    if not prompts:
        raise DataError(f"{path} holds no rows{f' of the split {split!r}' if split else ''}.")
    return prompts


def _tell_contracts(terminal: Terminal, contracts: Mapping[str, Contract]) -> None:
    """Say so where the subjects are not all told the same: no longer the models alone make the difference."""
    first, *others = contracts.values()
    if all(one == first for one in others):
        return
    terminal.say("The subjects are asked under different contracts, and their scores differ by that too:")
    for name, one in contracts.items():
        system = "none" if one.system is None else repr(one.system)
        terminal.say(f"  {name}: schema in the prompt: {one.schema_in_prompt}, system message: {system}")
    terminal.say("--schema-in-prompt and --system tell all of them the same.")


def _told_apart(found: Mapping[str, Evaluation]) -> list[Evaluation]:
    """Return the evaluations by the text that names each; subjects that would share a name are called by that text."""
    names = Counter(one.subject for one in found.values())
    return [replace(one, subject=text) if names[one.subject] > 1 else one for text, one in found.items()]


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Scores one subject after another, each into a folder of its own."""

    terminal: Terminal
    chosen: Mapping[str, Any]
    sets: Mapping[str, list[Prompt]]
    contracts: Mapping[str, Contract]
    """What each subject is asked under, by the text that names it."""
    first_teacher: dict[str, dict[str, str | Message]] = field(default_factory=dict)
    """The answers of the first teacher by set and row id: what rows without a reference are compared with."""

    def score(self, text: str, target: object, out: Path) -> Evaluation:
        metrics = [pillm.metric(name, **options) for name, options in map(name_and_options, self.chosen["metrics"])]
        with self.terminal.progress("evaluate") as progress:
            scoring = Scoring(
                folder=out / _slug(text),
                sets=self.sets,
                metrics=metrics,
                contract=self.contracts[text],
                seed=self.chosen["seed"],
                progress=progress,
                teacher_answers=dict(self.first_teacher),
            )
            return score(self._subject(target, scoring), scoring)[0]

    def _subject(self, target: Any, scoring: Scoring) -> Subject:
        if isinstance(target, Teacher):
            subject = ask_teacher(target, scoring)[0]
            if not self.first_teacher:
                self.first_teacher.update(scoring.teacher_answers)
            return subject
        runner = runner_for(target, self.chosen["runner"], self.chosen["options"])
        if isinstance(target, pillm.Checkpoint):
            return checkpoint_subject(target, runner, "checkpoint", checkpoint_key(target))
        return model_subject(target, runner)


def _slug(text: str) -> str:
    """Return a folder name for a subject: readable, and its own."""
    plain = "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in Path(text.partition(":")[0]).name).strip(".-")
    return f"{plain[:40] or 'subject'}-{digest(text)[:6]}"
