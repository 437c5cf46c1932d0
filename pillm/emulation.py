"""The end of a run: its best file answers one held-out row as its device would, played on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import cast

from pillm.artifacts import ModelFile, to_json
from pillm.backends import Runner
from pillm.contract import Contract
from pillm.errors import BackendError, PillmError
from pillm.files import lock, write_json
from pillm.plugins import build, registry
from pillm.progress import Progress
from pillm.recipe import Recipe
from pillm.records import Answer, Failure, JSONObject, Prompt, Request
from pillm.store import Lineage, WorkFolder, is_current, read_manifest, stage_key

FOLDER, FILE = "emulated", "emulated.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """What a file answered on an emulated processor, beside what it answered here."""

    model: str
    runner: str
    row: str
    prompt: str
    answer: str
    """As the emulated device said it; tool calls as the text they came in where it had no other."""
    here: str
    same: bool
    parts_at: int | None
    """The place, counted from 0, of the first token at which the two part; None where they do not."""
    unit: str
    """What was compared: "tokens", or "characters" where one of the two tells no token ids."""
    compared: int
    """How many of them the longer answer has."""
    seconds: float
    """How long the answer took to emulate; it says nothing about the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is to be tried: a file, a held-out row, what the file is run with here and there, and where the result goes."""

    model: ModelFile
    row: Prompt
    here: Runner
    there: Runner
    contract: Contract
    folder: Path


def emulate(
    recipe: Recipe, model: ModelFile, row: Prompt, folder: Path, progress: Progress
) -> tuple[Emulated | None, str | None]:
    """Return what a file of a run answers a row on its device's processor, or why nothing can be told.

    Neither is there where the recipe names no device, or none that can be played. The result is kept in `folder`.
    """
    there = find_emulator(recipe.device.name, model.path.suffix.lstrip(".")) if recipe.device else None
    if there is None:
        return None, None
    blind = replace(row, reference=None, given=None)
    trial = Trial(model=model, row=blind, here=recipe.runner, there=there, contract=recipe.contract, folder=folder / FOLDER)
    return try_emulated(trial, progress)


def find_emulator(device: str, kind: str) -> Runner | None:
    """Return the installed runner that plays a device's processor and reads that kind of file; None where there is none.

    It has its usual options; where several do, the first by name is taken.
    """
    for name, claims in sorted(registry().provided("runner").items()):
        runner = cast(type[Runner], claims[0][1])
        plays = runner.emulates and (device == runner.emulates or device.startswith(f"{runner.emulates}-"))
        if plays and kind in runner.reads and len(claims) == 1:
            return cast(Runner, build("runner", name, {}))
    return None


def try_emulated(trial: Trial, progress: Progress) -> tuple[Emulated | None, str | None]:
    """Return what the emulated device answered, or why nothing can be told; a result that stands is not made again."""
    try:
        trial.there.check()
        return _stored(trial, progress), None
    except PillmError as error:  # it would have told more; without it the run is whole
        return None, str(error)


def _stored(trial: Trial, progress: Progress) -> Emulated:
    asked = trial.contract.request(trial.row, {})
    inputs = {"model": trial.model.sha256, "row": asked.key, "emulated": trial.there.emulates}
    key = stage_key("evaluate", inputs, trial.here, trial.there)
    with lock(trial.folder.with_name(f".{trial.folder.name}.lock")):
        if is_current(trial.folder, key):
            progress.up_to_date(f"{trial.model.label}: up to date")
        else:
            with WorkFolder(trial.folder, "evaluate", key) as work:
                progress.start(message=f"{trial.model.label} answers one row as on its device")
                found = to_json(_compare(asked, trial))
                write_json(work.path / FILE, found)
                made_by = (trial.here, trial.there)
                results: JSONObject = {"emulated": found}
                work.publish(
                    Lineage(
                        verb="evaluate", key=key, backends=made_by, seconds=work.seconds, counts={"rows": 1}, results=results
                    )
                )
            progress.finish(f"{found['runner']}: {'the same' if found['same'] else 'another'} answer")
    told = (read_manifest(trial.folder) or {})["results"]["emulated"]
    return Emulated(**{"parts_at": None, **told})


def _compare(asked: Request, trial: Trial) -> Emulated:
    there, here = (_ask(_plain(runner), trial.model, asked) for runner in (trial.there, trial.here))
    unit, said, expected = _sides(there, here)
    same_start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said, expected, strict=False)))
    longest, shortest = max(len(said), len(expected)), min(len(said), len(expected))
    # an answer that was cut shorter is not another answer
    cut = (there if len(said) == shortest else here).finish_reason == "length"
    same = same_start == longest or (cut and same_start == shortest > 0)
    return Emulated(
        model=trial.model.label,
        runner=trial.there.name,
        row=asked.prompt.id,
        prompt=asked.prompt.text,
        answer=_text(there),
        here=_text(here),
        same=same,
        parts_at=None if same else same_start,
        unit=unit,
        compared=longest,
        seconds=round(there.timings.get("seconds", 0.0), 3),
    )


def _plain(runner: Runner) -> Runner:
    """Return a runner as answers of two are compared: without sampling and without a grammar."""
    plain = {"temperature": 0.0, "constrain": False}
    return runner.model_copy(update={name: value for name, value in plain.items() if name in type(runner).model_fields})


def _sides(there: Answer, here: Answer) -> tuple[str, Sequence[object], Sequence[object]]:
    if there.token_ids is not None and here.token_ids is not None:
        return "tokens", there.token_ids, here.token_ids
    return "characters", _text(there), _text(here)


def _text(answer: Answer) -> str:
    calls = " ".join(str(call["function"]) for call in answer.tool_calls)
    return answer.content or calls


def _ask(runner: Runner, model: ModelFile, asked: Request) -> Answer:
    with runner.open(model) as session:
        for _, result in session.answer(iter([asked])):
            if isinstance(result, Failure):
                raise BackendError(f"runner {runner.name!r} did not answer row {asked.prompt.id!r}: {result.message}")
            return result
    raise BackendError(f"runner {runner.name!r} gave no answer to row {asked.prompt.id!r}.")
