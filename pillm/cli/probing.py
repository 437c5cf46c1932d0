"""`pillm label --probe`: is the teacher good enough, and the student base bad enough, to label a whole file?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pillm
from pillm.artifacts import to_json
from pillm.cli.promptmaking import table_account
from pillm.cli.scores import scores_table
from pillm.cli.targets import model_of, runner_for
from pillm.errors import ConfigError, GateError
from pillm.probing import Probing, probe
from pillm.stages.training import checkpoint_key
from pillm.subjects import checkpoint_subject, model_subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pillm.artifacts import Evaluation
    from pillm.backends import Teacher
    from pillm.cli.terminal import Terminal
    from pillm.probing import Probed
    from pillm.records import Prompt
    from pillm.stages.settings import Labelling
    from pillm.subjects import Subject

REMEDIES = {
    "teacher fails": "Probe more rows, choose another teacher, or tell it more (--system, --schema-in-prompt text)",
    "base does it": "Choose harder prompts, or ship the base as it is",
}


def check_words(chosen: Mapping[str, Any]) -> None:
    """Raise ConfigError for options that do not go together."""
    if chosen["student"] and chosen["probe"] is None:
        raise ConfigError("--student names the base that --probe scores beside the teacher. Give --probe 50 too.")
    if chosen["probe"] is not None and chosen["dry_run"]:
        raise ConfigError("--dry-run asks nothing and --probe asks a sample. Give one of them.")


def show_probe(
    terminal: Terminal, prompts: Iterable[Prompt], teacher: Teacher, out: Path, settings: Labelling, chosen: Mapping[str, Any]
) -> None:
    """Probe and print the scores and the verdict; raise GateError unless it is "go"."""
    student = _student(chosen["student"]) if chosen["student"] else None
    with terminal.progress("probe") as progress:
        probing = Probing(rows=chosen["probe"], student=student)
        found = probe(prompts, teacher, out, probing=probing, settings=settings, progress=progress)
    ended = () if found.verdict in REMEDIES else (found.sentence,)
    terminal.result(_document(found) | table_account(prompts), scores_table(_columns(found)), *ended)
    kept = f"The sample's answers are stored in {out}: the same command without --probe does not ask for them again."
    if found.verdict in REMEDIES:
        raise GateError(f"{found.sentence} {REMEDIES[found.verdict]}. {kept}")
    terminal.say(kept)


def _columns(found: Probed) -> list[Evaluation]:
    """Return the evaluations, each called by what it is here: teacher and base may be one model."""
    roles = ("teacher", "base") if found.base else ("teacher",)
    said = [replace(one, subject=f"{role} {one.subject}") for role, one in zip(roles, found.evaluations, strict=False)]
    return [*said, *found.evaluations[len(roles) :]]


def _document(found: Probed) -> dict[str, Any]:
    scores = {name: to_json(one) for name in ("teacher", "base", "truth") if (one := getattr(found, name)) is not None}
    told = ("verdict", "sentence", "decided_by", "rows", "asked")
    return {name: getattr(found, name) for name in told} | {"scores": scores}


def _student(text: str) -> Subject:
    """Return the base as a subject, checked before the teacher costs anything."""
    model = model_of(text)
    runner = runner_for(model, None, {})
    runner.check()
    if isinstance(model, pillm.Checkpoint):
        return checkpoint_subject(model, runner, "base", checkpoint_key(model))
    return model_subject(model, runner)
