"""What can be told of a recipe before anything is spent: its rows, the plan for its device, what stands in the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pillm.artifacts import Checkpoint, Lengths, Plan
from pillm.backends import Trainer
from pillm.devices.planner import plan
from pillm.devices.quants import find_quant
from pillm.errors import ConfigError, DataError, PillmError
from pillm.examination import refuse_wrong
from pillm.lengths import RowLengths, row_lengths
from pillm.prospects import Prospect, prospects
from pillm.recipe import Recipe, named_quants, trained_for
from pillm.records import JSONObject
from pillm.runfolder import makers_of
from pillm.runrows import RunRows, rows_of
from pillm.store import recorded
from pillm.tokencounter import TokenCounter

log = logging.getLogger(__name__)

_SAFE = "No teacher was asked and nothing was written."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a look ahead found."""

    rows: RunRows
    plans: tuple[Plan, ...]
    """Of the student on the recipe's device, one for each file; none without a device, or where its size is not known."""
    prospects: tuple[Prospect, ...]
    """What these say of the gates on speed and size."""
    obstacles: tuple[PillmError, ...]
    """What would stop a stage: a tool, a model or a key that is missing."""

    @property
    def plan(self) -> Plan | None:
        """Return the plan of the smallest file that fits; None where none is known to."""
        return min((one for one in self.plans if one.fits), key=lambda one: one.bytes, default=None)


def look_ahead(recipe: Recipe, folder: Path) -> Outlook:
    """Return what can be told of a run before anything is asked, downloaded or written, but for a base's `config.json`.

    Raises ConfigError where the device cannot hold the student or a gate on speed or size cannot be met, DataError where
    it could not be exported, what `rows_of` refuses, and what trainer, teacher and runners refuse of the rows and of the
    teacher.
    """
    recipe.trainer.check_teacher(recipe.teacher)
    described = _described(recipe)
    _plan(recipe, described, None)  # what is hopeless is told before rows are read, which may take long
    _examine(recipe, recipe.trainer.base_checkpoint(fetch=False))
    _warn_of_rounding(recipe)
    rows = rows_of(recipe)
    plans = _plan(recipe, described, rows)
    recipe.trainer.check_prompts(rows.sides["train"], recipe.contract)
    _check_answering(recipe, rows)
    obstacles = {str(error): error for error in _obstacles(recipe, folder)}
    return Outlook(rows=rows, plans=plans, prospects=_prospects(recipe, plans), obstacles=tuple(obstacles.values()))


def _check_answering(recipe: Recipe, rows: RunRows) -> None:
    """Let what will answer refuse rows whose answers it could not hold to what it is told to, such as a schema."""
    recipe.teacher.check_prompts([row for side, found in rows.sides.items() if side != "test" for row in found])
    scored = [row for found in rows.sets.values() for row in found]
    for runner in (recipe.runner, recipe.checkpoint_runner):
        if runner is not None:
            runner.check_prompts(scored)


def make_ready(recipe: Recipe, folder: Path) -> RunRows:
    """Return the rows of a run that nothing foreseeable stands in the way of; a student that is not here is downloaded.

    Raises what `look_ahead` raises, and the first obstacle that it found.
    """
    ahead = look_ahead(recipe, folder)
    for other in ahead.obstacles[1:]:
        log.warning("%s", other)
    for one in ahead.prospects:
        if one.fate == "doubtful":
            log.warning("gates: %s", one.sentence)
    if ahead.obstacles:
        raise ahead.obstacles[0]
    if recipe.trainer.base_checkpoint(fetch=False) is None:
        base = recipe.trainer.base_checkpoint()
        _plan(recipe, base, ahead.rows)  # where its config.json could not be had before
        _examine(recipe, base)
        recipe.trainer.check_prompts(ahead.rows.sides["train"], recipe.contract)
    return ahead.rows


def _obstacles(recipe: Recipe, folder: Path) -> Iterator[PillmError]:
    """Yield what stands in a backend's way; one that made a result that stands is not asked: it may have nothing to do."""
    made = makers_of(folder)
    for backend in (*recipe.backends().values(), *recipe.filters, *recipe.metrics):
        if recorded(backend) not in made:
            try:
                backend.check()
            except PillmError as error:
                yield error


def _examine(recipe: Recipe, base: Checkpoint | None) -> None:
    """Raise DataError where the exporter knows already that it cannot pack what would be trained from the base."""
    if base is None:
        return
    shape = recipe.trainer.planned_shape()
    findings = recipe.exporter.examine(base, student=base.config if shape is None else shape)
    for found in refuse_wrong(findings, f"exporter {recipe.exporter.name!r} could not export a student of {base.label}"):
        if found.state == "note":
            log.warning("%s: %s %s", found.name, found.detail, found.remedy)


def _warn_of_rounding(recipe: Recipe) -> None:
    """Warn where a student is trained for the rounding of a file that the exporter does not make."""
    kind, quants = trained_for(recipe.trainer), named_quants(recipe.exporter)
    if kind is None or (quants is not None and kind.casefold() in [quant.casefold() for quant in quants]):
        return
    made = f"makes {', '.join(quants)}" if quants is not None else "chooses what it makes"
    log.warning(
        "the student is trained for the rounding of %s (quantization_aware), and exporter %r %s: it may gain nothing. "
        "Name %s in the exporter's quants, or leave quantization_aware out.",
        kind, recipe.exporter.name, made, kind,
    )  # fmt: skip


def planned_student(trainer: Trainer, base: Checkpoint) -> Checkpoint | JSONObject:
    """Return what a device is planned for: the base, or the shape of a student that is made smaller of it."""
    shape = trainer.planned_shape()
    return base if shape is None else {**shape, "name": base.label}


def measured_rows(recipe: Recipe, rows: RunRows) -> RowLengths:
    """Return how long the rows of a run are, counted with the student's tokenizer where its base is here."""
    base = recipe.trainer.base_checkpoint(fetch=False)
    counter = TokenCounter(recipe.contract, base.path if base else None)
    found = row_lengths(chain.from_iterable(rows.sides.values()), counter)
    further = row_lengths(chain.from_iterable(rows.sets.values()), counter)
    return replace(found, longest=max(found.longest, further.longest))


def planning_lengths(recipe: Recipe, longest: int, lengths: Lengths | None) -> tuple[int | None, Lengths | None]:
    """Return the tokens of context to plan for, and the lengths of a request where that context holds it.

    The context is the one that the recipe's runner keeps. Where it says none it holds the longest row, and None means that
    the profile's own is enough.
    """
    kept = _runner_context(recipe)
    if kept is not None:
        return kept, lengths if lengths is None or lengths.tokens <= kept else None
    least = max(longest, lengths.tokens if lengths else 0)
    return (least if recipe.device is None or least > recipe.device.context else None), lengths


def _runner_context(recipe: Recipe) -> int | None:
    """Return the tokens of context of what runs on the device, or None where it does not say."""
    runner = recipe.runner if recipe.bench_runner is None else recipe.bench_runner
    kept = getattr(runner, "context", None)
    return kept if isinstance(kept, int) else None


def _warn_of_length(recipe: Recipe, longest: int) -> None:
    kept = _runner_context(recipe)
    if kept is not None and longest > kept:
        log.warning("the longest row has about %s tokens with its answer, and the runner's context is %s", longest, kept)


def _described(recipe: Recipe) -> Checkpoint | None:
    """Return the base's folder with its config.json at least, where the recipe has a device and that file can be had."""
    if recipe.device is None:
        return None
    try:
        return recipe.trainer.base_config()
    except PillmError as error:  # the trainer's own check says it too, as an obstacle
        log.info("the student is not planned for before its base is here: %s", error)
        return None


def _plan(recipe: Recipe, base: Checkpoint | None, rows: RunRows | None) -> tuple[Plan, ...]:
    """Plan the student's files for the recipe's device.

    Raises ConfigError where none of them would fit, or one of them could not meet a gate.
    """
    if recipe.device is None or base is None:
        return ()
    student = planned_student(recipe.trainer, base)
    quants = named_quants(recipe.exporter) or (None,)
    unknown = [quant for quant in quants if quant is not None and find_quant(str(quant)) is None]
    context, lengths = _runner_context(recipe), None
    if rows is not None:
        told = measured_rows(recipe, rows)
        context, lengths = planning_lengths(recipe, told.longest, told.typical)
        _warn_of_length(recipe, told.longest)
    try:
        plans = tuple(
            plan(student, recipe.device, quant=quant, context=context, lengths=lengths)
            for quant in quants
            if quant not in unknown
        )
    except DataError as error:
        if rows is not None:
            log.warning("the student cannot be planned for before it is exported: %s", error)
        return ()
    _check_fit(recipe, plans, unknown, told=rows is not None)
    _check_gates(_prospects(recipe, plans), plans)
    return plans


def _check_fit(recipe: Recipe, plans: Sequence[Plan], unknown: list[str], *, told: bool) -> None:
    """Raise ConfigError where no file is known to fit, nor may; warn of what is not sure."""
    if not unknown and not any(one.fits for one in plans):
        smallest = min(plans, key=lambda one: one.bytes)
        instead = f" Instead: {'; '.join(map(str, smallest.alternatives))}." if smallest.alternatives else ""
        raise ConfigError(
            f"the student in {smallest.quant} is not for device {recipe.file.device!r}. {smallest.verdict}{instead} {_SAFE}"
        )
    for quant in unknown if told else ():
        log.warning("no size is known for quantisation %s: its file is not planned for before it is there", quant)
    for one in plans if told else ():
        if one.room != "yes":
            log.warning("%s: %s", one.quant, one.verdict)


def _prospects(recipe: Recipe, plans: Sequence[Plan]) -> tuple[Prospect, ...]:
    """Return what plans say of the gates; what only plays the device's processor measures no speed.

    An exporter that chooses its quantisation may choose another than the one that is planned, and meet what that misses.
    """
    measured = recipe.bench_runner is not None and not recipe.bench_runner.emulates
    found = prospects(recipe.gates, plans, measured=measured)
    if named_quants(recipe.exporter) is not None:
        return found
    return tuple(replace(one, fate="doubtful") if one.fate == "missed" else one for one in found)


def _check_gates(found: Sequence[Prospect], plans: Sequence[Plan]) -> None:
    """Raise ConfigError where a file could not meet a gate even at its best: every file must."""
    hopeless = [one for one in found if one.fate == "missed"]
    if not hopeless:
        return
    first = hopeless[0]
    missing = list(dict.fromkeys(one.quant for one in hopeless))
    others = f" So it is with {', '.join(missing[1:])}." if len(missing) > 1 else ""
    drop = "" if len(missing) == len(plans) else f" leave {', '.join(missing)} out of the exporter's quants,"
    faster = [
        str(other)
        for one in plans
        if one.quant == first.quant and first.gate.startswith("tg_tps")
        for other in one.alternatives
        if other.fits and (other.tg_tps or 0.0) >= first.bound
    ]
    instead = f" Instead: {'; '.join(faster)}." if faster else ""
    raise ConfigError(
        f"gates: {first.sentence}.{others} Every file that ships must meet every gate: change the gate,{drop} make the "
        f"student smaller, or choose another device.{instead} {_SAFE}"
    )
