"""The smallest honest backends: a whole pipeline with nothing installed, for the tests of pillm and of plugins.

The student is a table: it learns by heart what each question was answered, and says "" to any other.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pillm.artifacts import CALIBRATION_FILE, CONTRACT_FILE, PROBES_FILE, Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backends import Exporter, Filter, Metric, Runner, Session, Teacher, Trainer, TrainingData
from pillm.errors import BackendError
from pillm.hookspecs import hookimpl
from pillm.progress import Progress
from pillm.records import Answer, Failure, Message, Prompt, Request, Usage

TABLE_FILE = "table.json"


class EchoTeacher(Teacher):
    """Answers from a script, else with the question itself."""

    name: ClassVar[str] = "echo"
    script: dict[str, str] = Field(default_factory=dict, description="Question -> answer.")
    truth: bool = Field(False, description="Answer with the row's reference where it has one.")
    fails: tuple[str, ...] = Field((), description="Questions that get a failure instead of an answer.")
    window: int = Field(1, ge=1, description="How many requests are pulled ahead.", json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Answer in the order of arrival, at most `window` requests ahead."""
        waiting: list[Request] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) >= self.window:
                first = waiting.pop(0)
                yield first, self._reply(first)
        for request in waiting:
            yield request, self._reply(request)

    def _reply(self, request: Request) -> Answer | Failure:
        prompt = request.prompt
        if prompt.text in self.fails:
            return Failure("refused", f"{prompt.id} is on the list of failures.")
        true = prompt.reference.content if self.truth and prompt.reference else prompt.text
        content = self.script.get(prompt.text, true)
        return Answer(content, usage=_usage(prompt.text, content), model="echo-1")

    def estimate(self, request: Request) -> Usage | None:
        """Count words as tokens."""
        return _usage(request.prompt.text, request.prompt.text)


def _usage(asked: str, said: str) -> Usage:
    return Usage(prompt_tokens=len(asked.split()), completion_tokens=len(said.split()))


class TableTrainer(Trainer):
    """Learns every answer by heart."""

    name: ClassVar[str] = "table"
    upper: bool = Field(False, description="Learn the answers in capitals.")

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        """Write the table, and the contract, probes, calibration texts and loss log beside it."""
        progress.start(len(data.train))
        table: dict[str, str] = {}
        for example in data.train:
            content = example.answer.content
            table[rendered(data.contract.messages(example.prompt))] = content.upper() if self.upper else content
            progress.advance(loss=0.0)
        _write_json(out / TABLE_FILE, table)
        _write_json(out / "config.json", {"model_type": "pillm-table", "architectures": ["Table"], "rows": len(table)})
        data.contract.with_student(template="", special_tokens={}, stop_tokens=("\n",)).save(out / CONTRACT_FILE)
        texts = [(prompt, data.contract.messages(prompt)) for prompt in data.probes]
        _write_lines(out / PROBES_FILE, [
            {"id": prompt.id, "messages": list(messages), "text": rendered(messages), "ids": list(rendered(messages).encode())}
            for prompt, messages in texts
        ])  # fmt: skip
        _write_lines(out / CALIBRATION_FILE, [{"text": rendered(data.contract.messages(e.prompt))} for e in data.calibration])
        log = [{"step": step, "loss": 0.0} for step in range(1, len(data.train) + 1)]
        _write_json(out / "training.json", {"rows": len(data.train), "steps": len(log), "log": log})


def rendered(messages: tuple[Message, ...]) -> str:
    """Return messages as one text."""
    return "\n".join(f"{message['role']}: {message.get('content') or ''}" for message in messages)


class TableExporter(Exporter):
    """Writes the table as one file per quantisation."""

    name: ClassVar[str] = "table"
    writes: ClassVar[frozenset[str]] = frozenset({"table"})
    quants: tuple[str, ...] = Field(("F16",), min_length=1, description="The names of the files to write.")

    def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
        """Write and yield the files one by one."""
        progress.start(len(self.quants), "files")
        for quant in self.quants:
            path = out / f"student-{quant}.table"
            path.write_bytes((checkpoint.path / TABLE_FILE).read_bytes())
            progress.advance()
            yield ModelFile.of(path, quant)


class TableRunner(Runner):
    """Answers from a table; reads checkpoints and the files of exporter `table`."""

    name: ClassVar[str] = "table"
    reads: ClassVar[frozenset[str]] = frozenset({"table", "checkpoint"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench"})

    def open(self, model: ModelFile | Checkpoint) -> Session:
        """Read the table."""
        path = model.path / TABLE_FILE if isinstance(model, Checkpoint) else model.path
        try:
            table: dict[str, str] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BackendError(f"{path} is not a table ({error}). Export it again.") from error
        return TableSession(table, model.label)


class TableSession(Session):
    """An open table."""

    def __init__(self, table: dict[str, str], label: str) -> None:
        self._table = table
        self._label = label

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Look each question up."""
        for request in requests:
            yield request, Answer(self._table.get(rendered(request.messages), ""), model=self._label)

    def bench(self, plan: BenchPlan) -> Benchmark:
        """Time look-ups; one look-up counts as one token."""
        speeds = []
        for _ in range(plan.repetitions):
            began = time.perf_counter()
            for number in range(plan.pp + plan.tg):
                self._table.get(str(number))
            speeds.append((plan.pp + plan.tg) / max(time.perf_counter() - began, 1e-9))
        speed = statistics.median(speeds)
        return Benchmark(
            model=self._label, device="here", basis="measured", pp_tps=speed, tg_tps=speed, pp=plan.pp, tg=plan.tg,
            repetitions=plan.repetitions, samples={"tg_tps": speeds},
        )  # fmt: skip


class LengthMetric(Metric):
    """Scores 1 / (1 + length), so that the shortest answer is the best."""

    name: ClassVar[str] = "shortness"

    def score(self, prompt: Prompt, answer: Answer) -> float | None:
        """Return a score in 0..1."""
        return 1 / (1 + len(answer.content))


class DropFilter(Filter):
    """Leaves out rows whose question contains a word."""

    name: ClassVar[str] = "drop"
    word: str = Field(description="The word.")

    def apply(self, prompt: Prompt) -> Prompt | None:
        """Return the prompt, or None where it contains the word."""
        return None if self.word in prompt.text else prompt


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


@hookimpl
def pillm_teachers() -> list[type[Teacher]]:
    """Return the fake teacher."""
    return [EchoTeacher]


@hookimpl
def pillm_trainers() -> list[type[Trainer]]:
    """Return the fake trainer."""
    return [TableTrainer]


@hookimpl
def pillm_exporters() -> list[type[Exporter]]:
    """Return the fake exporter."""
    return [TableExporter]


@hookimpl
def pillm_runners() -> list[type[Runner]]:
    """Return the fake runner."""
    return [TableRunner]


@hookimpl
def pillm_metrics() -> list[type[Metric]]:
    """Return the fake metric."""
    return [LengthMetric]


@hookimpl
def pillm_filters() -> list[type[Filter]]:
    """Return the fake filter."""
    return [DropFilter]
