"""Train a student: hand a trainer its data, and check that what it wrote is a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pillm.artifacts import (
    CALIBRATION_FILE,
    CONTRACT_FILE,
    PROBES_FILE,
    TRAINING_FILE,
    Checkpoint,
    sha256_file,
    sha256_folder,
)
from pillm.backends import Rows, Teacher, Trainer, TrainingData
from pillm.cards.lineage import Making, teacher_record, write_lineage
from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError, DataError
from pillm.files import lock, named, storage_errors
from pillm.forecasts import TrainingForecast
from pillm.progress import Progress
from pillm.reasoning import spoken
from pillm.records import Example, JSONObject, Message, Prompt, digest
from pillm.rows import example_to_row, write_rows
from pillm.stages.labelling import Labelled, teacher_beside
from pillm.stages.stored import HeldAnswers, StoredAnswers, store_of, stored_digest
from pillm.store import MANIFEST, Lineage, WorkFolder, is_current, read_manifest, stage_key

SIDES = ("train", "validation", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What training needs beside examples: the contract, a seed, prompts to prove exports with, a teacher to learn from."""

    contract: Contract | None = None
    """How rows become prompts; None: as the label stage recorded for its rows, else the plain contract."""
    seed: int = 0
    probes: tuple[Prompt, ...] = ()
    """Prompts of every split; only their messages are used, never an answer."""
    teacher: Teacher | None = None
    answers: Path | None = None
    """The answer store of the labelling that made the examples, for trainers that learn from what it holds; None: the one
    beside the rows' file, or what examples in memory carry."""


def train(
    examples: Iterable[Example],
    trainer: Trainer,
    out: Path | str,
    *,
    settings: Training | None = None,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a student on examples into the folder `out`, and return it as a checkpoint.

    Examples of the split "test" are left out; "validation" and "calibration" go to their own side, all others are
    trained on. What `label` returned brings its contract; from elsewhere it is `Training(contract=...)`, else the plain one.
    Raises DataError where nothing is left to train on, ConfigError where the settings tell the student something else
    than the teacher was told or `out` holds what another stage made, BackendError where the trainer wrote no checkpoint.
    """
    out, settings, progress = named(out), settings or Training(), progress or Progress("train")
    _spare_base(trainer, out)
    contract = _contract(examples, settings)
    sides, store = _sides(examples), store_of(examples, settings.answers)
    key = _key(sides, trainer, contract, settings, store)
    with lock(out.with_name(f".{out.name}.lock")):
        if is_current(out, key):
            progress.up_to_date()
            return Checkpoint(path=out)
        trainer.check()
        with WorkFolder(out, "train", key) as work, storage_errors(out):
            data = _with_stored(_data(sides, work.path / ".rows", contract, settings), sides, trainer, store)
            trainer.train(data, work.path, progress)
            _check(work.path, trainer)
            learnt = _learnt(work.path, len(sides["train"]))
            teacher = teacher_record(settings.teacher) if settings.teacher else _teacher_beside(examples, store)
            _tell(work.path, Making(key=key, seed=settings.seed, sides=sides, trainer=trainer, teacher=teacher, contract=""))
            lineage = Lineage(
                verb="train",
                key=key,
                backends=(trainer,),
                seed=settings.seed,
                seconds=work.seconds,
                counts={side: len(rows) for side, rows in sides.items()} | learnt.counts,
                parents={side: digest([row.key or row.prompt.id for row in rows]) for side, rows in sides.items()},
            )
            work.publish(lineage)
    if not learnt.balanced:
        progress.warn(
            f"trainer {trainer.name!r} accounts for {learnt.rows + learnt.left_out} of {learnt.given} rows in {TRAINING_FILE}."
        )
    progress.finish(f"trained on {learnt}")
    return Checkpoint(path=out)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """How many of the rows that a trainer was given it learnt from, and left out."""

    given: int
    rows: int
    left_out: int = 0

    @property
    def balanced(self) -> bool:
        return self.given == self.rows + self.left_out

    @property
    def counts(self) -> dict[str, int]:
        return {"learnt": self.rows, "left_out": self.left_out}

    def __str__(self) -> str:
        return f"{self.rows} rows" + (f" of {self.given}, {self.left_out} left out" if self.left_out else "")


def _learnt(folder: Path, given: int) -> _Learnt:
    """Return what a trainer says of its rows; one that says nothing learnt from all."""
    try:
        said = json.loads((folder / TRAINING_FILE).read_text("utf-8"))
        left_out = said.get("rows_left_out") or {}
        return _Learnt(given, int(said["rows"]), sum(int(count) for count in left_out.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Learnt(given, given)


def forecast(examples: Iterable[Example], trainer: Trainer, settings: Training | None = None) -> TrainingForecast | None:
    """Return what `train` would take on this machine, without training or writing; None where the trainer cannot tell.

    Raises what `train` would raise before its first step.
    """
    settings = settings or Training()
    contract, sides, store = _contract(examples, settings), _sides(examples), store_of(examples, settings.answers)
    trainer.check()
    with TemporaryDirectory(prefix="pillm-") as folder:
        return trainer.forecast(_with_stored(_data(sides, Path(folder), contract, settings), sides, trainer, store))


def _spare_base(trainer: Trainer, out: Path) -> None:
    base = trainer.base_checkpoint(fetch=False)
    if base is not None and base.path.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{out} holds the base {base.path}, which its student would replace. Choose another --out.")


def _contract(examples: Iterable[Example], settings: Training) -> Contract:
    if not isinstance(examples, Labelled) or examples.contract is None:
        return settings.contract or Contract()
    if settings.contract is None:
        return examples.contract
    asked = {"schema_in_prompt": settings.contract.schema_in_prompt, "system": settings.contract.system}
    return replace(settings.contract, **as_labelled(examples.contract, asked, examples.path))


def as_labelled(recorded: Contract, asked: Mapping[str, Any], labelled: Path) -> dict[str, Any]:
    """Return what the student is told: what the teacher was told; raise ConfigError where something else is asked for."""
    told = {"schema_in_prompt": recorded.schema_in_prompt, "system": recorded.system}
    for name, wanted in asked.items():
        if wanted != told[name]:
            raise ConfigError(
                f"{labelled}: the teacher was asked with {name}={told[name]!r} ({CONTRACT_FILE} beside it says so), but the "
                f"student is to be trained with {name}={wanted!r}. Leave {name} out here, or label again with it."
            )
    return told


def _sides(examples: Iterable[Example]) -> dict[str, list[Example]]:
    sides: dict[str, list[Example]] = {side: [] for side in SIDES}
    for example in examples:
        side = example.prompt.split or "train"
        if side in sides:
            sides[side].append(example)
    if not sides["train"]:
        raise DataError("there are no rows to train on. Label some first, or take fewer of them for test and validation.")
    return sides


def _key(sides: dict[str, list[Example]], trainer: Trainer, contract: Contract, settings: Training, store: Path | None) -> str:
    rows = {
        side: [[list(contract.conversation(row)), list(row.prompt.tools), row.key, *_worse(row)] for row in rows]
        for side, rows in sides.items()
    }
    inputs = {
        "rows": digest(rows),
        "probes": digest([[list(contract.messages(prompt)), list(prompt.tools)] for prompt in settings.probes]),
        "contract": contract.hash,
        "seed": settings.seed,
        "teacher": settings.teacher.identity() if settings.teacher else None,
    }
    if trainer.wants_stored():
        inputs["stored"] = stored_digest(store, sides["train"])
    return stage_key("train", inputs, trainer)


def _worse(row: Example) -> list[Message]:
    return [spoken(row.rejected)] if row.rejected else []


def _data(sides: dict[str, list[Example]], folder: Path, contract: Contract, settings: Training) -> TrainingData:
    folder.mkdir(exist_ok=True)
    rows = {}
    for side in SIDES:
        path = folder / f"{side}.jsonl"
        rows[side] = Rows(path, write_rows(path, (_blind(example) for example in sides[side])))
    return TrainingData(
        train=rows["train"],
        validation=rows["validation"],
        calibration=rows["calibration"],
        probes=settings.probes,
        contract=contract,
        seed=settings.seed,
        teacher=settings.teacher,
    )


def _with_stored(data: TrainingData, sides: dict[str, list[Example]], trainer: Trainer, store: Path | None) -> TrainingData:
    """Return the data with what was stored of the training rows' answers, where the trainer wants it and there is any."""
    if not trainer.wants_stored():
        return data
    if store is not None:
        return replace(data, stored=StoredAnswers(store, data.train))
    held = any(row.answer.logprobs for row in sides["train"])
    return replace(data, stored=HeldAnswers(sides["train"]) if held else None)


def _blind(example: Example) -> dict[str, object]:
    """Return an example's row without its reference: trainers never see the truth."""
    return {name: value for name, value in example_to_row(example).items() if name != "reference"}


def _check(folder: Path, trainer: Trainer) -> None:
    missing = [name for name in ("config.json", CONTRACT_FILE, PROBES_FILE, CALIBRATION_FILE) if not (folder / name).is_file()]
    if missing:
        raise BackendError(f"trainer {trainer.name!r} finished but did not write {', '.join(missing)}; nothing was published.")


def _teacher_beside(examples: Iterable[Example], store: Path | None) -> JSONObject | None:
    """Return who answered the examples, as their labelling recorded it; None where it lies elsewhere."""
    places = [examples.path] if isinstance(examples, Rows) else []
    return next((found for path in (*places, store) if path and (found := teacher_beside(path))), None)


def _tell(folder: Path, making: Making) -> None:
    """Write what the student was made from beside it: whatever is made of it carries that on."""
    write_lineage(folder, replace(making, contract=str(Checkpoint(path=folder).contract.get("hash", ""))))


def checkpoint_key(checkpoint: Checkpoint) -> str:
    """Return a key of a checkpoint's content: its manifest's key where pillm made it, else a hash of its files."""
    manifest = read_manifest(checkpoint.path)
    if manifest is not None:
        return sha256_file(checkpoint.path / MANIFEST)
    return sha256_folder(checkpoint.path)
