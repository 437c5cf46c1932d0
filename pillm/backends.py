"""What a plugin subclasses: teachers, trainers, exporters, runners, metrics and filters, each with its one method.

Heavy imports go inside the method that needs them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backend import Backend as Backend
from pillm.contract import Contract
from pillm.errors import BackendError
from pillm.examination import Finding
from pillm.forecasts import ExportForecast, TrainingForecast
from pillm.origins import Origin
from pillm.placement import Placed
from pillm.progress import Progress
from pillm.records import Answer, Example, Failure, JSONObject, Prompt, Request, Usage
from pillm.rowfiles import Rows as Rows

if TYPE_CHECKING:
    from pillm.machines import Machine


class Teacher(Backend):
    """Answers requests."""

    def open(self) -> AbstractContextManager[Self]:
        """Return a context in which the model stays loaded between calls of `answer`."""
        return nullcontext(self)

    @abstractmethod
    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Pull requests on the caller's thread and yield each with its answer or failure, in any order.

        What labelling hands in has an attribute `stopping`. Once it is true nothing more may be sent: what is in flight
        may finish, what only waits to be sent again becomes a failure that may pass.
        """

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Raise ConfigError where answers to these prompts could not be held to what the options promise.

        A run asks before the first one is asked. It must be quick and open no model.
        """

    def estimate(self, request: Request) -> Usage | None:
        """Return the tokens that a request is expected to cost, or None where it is unknown."""
        return None

    def tariff(self) -> tuple[str, str] | None:
        """Return model and server address, as price lists name them; None where a call costs nothing."""

    def origin(self) -> Origin:
        """Return the model that answers, for the card of what is taught; nothing is downloaded for it."""
        return Origin(name=str(getattr(self, "model", "") or self.name))

    def greedy(self) -> Self:
        """Return the same teacher answering without sampling and without a grammar, as evaluations ask it.

        Options named `temperature` and `constrain` are set to 0 and False; one that goes by another name overrides this.
        """
        plain = {"temperature": 0.0, "constrain": False}
        changes = {name: value for name, value in plain.items() if name in type(self).model_fields}
        return self.model_copy(update=changes) if changes else self

    def varies(self) -> bool:
        """Say whether another sample of the same request may be answered otherwise; by default unless `temperature` is 0."""
        return bool(getattr(self, "temperature", None) != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a trainer gets: rows to learn from, rows to watch, and what exports will be proved with."""

    train: Rows
    validation: Rows
    calibration: Rows
    probes: tuple[Prompt, ...] = ()
    """Prompts of every split, without references: the trainer records the token ids it gives them."""
    contract: Contract = field(default_factory=Contract)
    seed: int = 0
    teacher: Teacher | None = None
    stored: Iterable[Example] | None = None
    """The examples of `train` with their answers as they were stored: token ids, log-probabilities. Read one at a time, as
    often as wanted; given only to a trainer that `wants_stored`, None where nothing was stored."""


class Trainer(Backend):
    """Teaches a student."""

    @abstractmethod
    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        """Write the trained student to the folder `out` as a Hugging Face model folder, merged and in 16 bit or more.

        `out` survives a kill and may hold what an earlier attempt left; it must end with `contract.json`,
        `probes.jsonl` and `calibration.jsonl` (see `pillm.artifacts.Checkpoint`). Where some rows are not learnt from, a
        `training.json` says so: `rows`, and `rows_left_out` as counts by reason.
        """

    def base_checkpoint(self, *, fetch: bool = True) -> Checkpoint | None:
        """Return the untrained student, so that it can be planned for and scored beside the trained one.

        Without `fetch` nothing is downloaded: None where it is not on this machine yet.
        """
        return None

    def base_config(self) -> Checkpoint | None:
        """Return the untrained student's folder with its `config.json` at least, which is all that a plan needs.

        Of a base that is not on this machine that one file may be fetched; None where there is none. Raises Unavailable where
        it cannot be fetched.
        """
        return self.base_checkpoint(fetch=False)

    def planned_shape(self) -> JSONObject | None:
        """Return the student's `config.json`, at its largest, where it is not its base's, else None.

        Nothing is downloaded that `base_config` does not fetch.
        """

    def check_prompts(self, prompts: Sequence[Prompt], contract: Contract) -> None:
        """Raise ConfigError where most of the prompts could not be trained on; a run asks before a teacher is paid.

        It must be quick, download nothing, and say nothing where the student is not on this machine.
        """

    def check_teacher(self, teacher: Teacher | None) -> None:
        """Raise ConfigError where this teacher cannot give what the options want to learn from; asked before it is paid."""

    def wants_stored(self) -> bool:
        """Say whether token ids and log-probabilities that labelling stored are learnt from: a training's key covers them."""
        return False

    def forecast(self, data: TrainingData) -> TrainingForecast | None:
        """Return what a training on these rows will take; None where it cannot be told, or the student is not here.

        Nothing is downloaded. A few steps may be taken on a copy to see how fast they are.
        """
        return None

    def launch_plan(self) -> str | None:
        """Return the commands and files by which further processes are started, as text for a person; None where none are."""


class Exporter(Backend):
    """Packs a checkpoint into files for devices."""

    writes: ClassVar[frozenset[str]] = frozenset()
    """The kinds of model file it writes, by suffix; empty: unknown."""

    def examine(self, checkpoint: Checkpoint, *, student: JSONObject | None = None, prove: bool = False) -> Iterable[Finding]:
        """Yield what can be told now of whether a checkpoint, or what will be trained from it, can be exported.

        `student` is the `config.json` of what will be trained: the weights are not looked at then. Nothing is downloaded or
        written, and without `prove` it must be quick. A run asks before its teacher costs anything.
        """
        return ()

    def parents(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Return, by name, the hash of what else the files are made from, such as the base of an adapter."""
        return {}

    def forecast(self, student: JSONObject, rows: int, tokens: int) -> ExportForecast | None:
        """Return what an export takes that tries more than it ships: of a `config.json`, validation rows and their tokens."""

    @abstractmethod
    def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
        """Write model files into the folder `out` and yield each when it is complete and proved."""


class Session(AbstractContextManager["Session"]):
    """A model opened by a runner: it answers, and where the runner can, embeds and is timed."""

    @abstractmethod
    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Pull requests and yield each with its answer or failure, in any order; greedy unless configured otherwise."""

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding per text; raise BackendError where this runner cannot."""
        raise BackendError(f"{type(self).__name__} cannot embed. Choose another runner.")

    def bench(self, plan: BenchPlan) -> Benchmark:
        """Time prefill and decode apart; raise BackendError where this runner cannot."""
        raise BackendError(f"{type(self).__name__} cannot be timed. Choose another runner.")

    def close(self) -> None:
        """Free what the session holds; calling it twice is harmless."""

    def __exit__(self, *_: object) -> None:
        self.close()


class Runner(Placed, Backend):
    """Runs models on a device."""

    reads: ClassVar[frozenset[str]] = frozenset({"gguf"})
    """The kinds of model it opens: "gguf" files, "checkpoint" folders, or both."""
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer"})
    """What its sessions can do, of `pillm.capabilities`; one that only times models serves as a recipe's `bench_runner`."""
    emulates: ClassVar[str] = ""
    """The devices whose processor it plays here, by how their names begin: a run for one ends with an answer of it."""

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Raise ConfigError where answers to these prompts could not be held to what the options promise.

        A run asks before a teacher is paid. It must be quick and open no model.
        """

    def runs_on(self) -> Machine | None:
        """Return the machine that models run on where that is known before one is open; by default None: a session tells it.

        A bench looks at it before it loads anything.
        """
        return None

    @abstractmethod
    def open(self, model: ModelFile | Checkpoint) -> Session:
        """Open a model; raise BackendError where it cannot be loaded."""


class Metric(Backend):
    """Scores one answer."""

    @abstractmethod
    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return the score, higher is better, or None where the metric does not apply to the row.

        `prompt.reference` holds what to compare with: the truth, or the teacher's answer where no truth is known.
        """

    def applies(self, prompt: Prompt) -> bool:
        """Say, without scoring, whether the metric can apply to a row; True where only scoring tells."""
        return True


class Filter(Backend):
    """Changes or leaves out rows before anything is keyed, stored or sent."""

    @abstractmethod
    def apply(self, prompt: Prompt) -> Prompt | None:
        """Return the row to use, changed or not, or None to leave it out."""
