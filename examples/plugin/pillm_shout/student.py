"""The student: it knows the answers it was taught, and gives the one whose question is the most like yours.

It is tiny and it is real: what it learns is written to a checkpoint, packed into one file, proved and timed.
A token of it is a byte of UTF-8.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from pydantic import Field

import pillm

TABLE = "table.json"
MAGIC = b"SHOUT1\n"


def rendered(messages: Sequence[pillm.Message]) -> str:
    """Return a conversation as the one text that the student sees: its chat template."""
    return "".join(f"<{message['role']}>{message.get('content') or ''}\n" for message in messages)


def trigrams(text: str) -> frozenset[str]:
    """Return the groups of three letters that questions are compared by."""
    folded = f"  {text.casefold()} "
    return frozenset(folded[at : at + 3] for at in range(len(folded) - 2))


class Lookup(pillm.Trainer):
    """Learns questions and answers by heart; answers by the nearest question."""

    name: ClassVar[str] = "lookup"
    most_rows: int | None = Field(None, ge=1, description="Learn at most this many rows; none learns all.")

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        """Write the table, and what every checkpoint carries: contract, probes and calibration texts."""
        progress.start(len(data.train))
        table: dict[str, str] = {}
        for example in data.train:
            if self.most_rows is None or len(table) < self.most_rows:
                table[rendered(data.contract.messages(example.prompt))] = example.answer.content
            progress.advance()
        _write(out / "config.json", {"model_type": "lookup", "rows": len(table)})
        _write(out / TABLE, table)
        data.contract.with_student(template="<{role}>{content}\n", special_tokens={}, stop_tokens=()).save(
            out / "contract.json"
        )
        texts = [(prompt, data.contract.messages(prompt)) for prompt in data.probes]
        _write_lines(out / "probes.jsonl", [_probe(prompt, messages) for prompt, messages in texts])
        conversations = (data.contract.conversation(example) for example in data.calibration)
        _write_lines(out / "calibration.jsonl", [{"text": rendered(messages)} for messages in conversations])


def _probe(prompt: pillm.Prompt, messages: Sequence[pillm.Message]) -> dict[str, Any]:
    text = rendered(messages)
    return {"id": prompt.id, "messages": list(messages), "text": text, "ids": list(text.encode())}


class Packed(pillm.Exporter):
    """Packs the table into one small file; a smaller share of the rows makes a smaller file."""

    name: ClassVar[str] = "packed"
    writes: ClassVar[frozenset[str]] = frozenset({"shout"})
    keep: tuple[int, ...] = Field((100,), min_length=1, description="Percent of the rows to keep, one file for each.")

    def export(self, checkpoint: pillm.Checkpoint, out: Path, progress: pillm.Progress) -> Iterator[pillm.ModelFile]:
        """Write one `.shout` file per share, and prove that probes have the same tokens as in training."""
        table = json.loads((checkpoint.path / TABLE).read_text("utf-8"))
        probes = list(checkpoint.probes())
        wrong = [probe.id for probe in probes if list(rendered(probe.messages).encode()) != list(probe.ids)]
        if wrong:
            raise pillm.BackendError(f"probe {wrong[0]!r} has other tokens than in training; nothing was exported.")
        progress.start(len(self.keep), "files")
        for share in self.keep:
            rows = list(table.items())[: max(1, len(table) * share // 100)]
            path = out / f"student-keep{share}.shout"
            path.write_bytes(MAGIC + zlib.compress(json.dumps(rows, ensure_ascii=False).encode(), 9))
            progress.advance()
            yield pillm.ModelFile.of(path, f"KEEP{share}", parity=pillm.Parity(rows=len(probes), mismatches=0))


class Table(pillm.Runner):
    """Answers from the table: of a packed file, or of a checkpoint."""

    name: ClassVar[str] = "table"
    reads: ClassVar[frozenset[str]] = frozenset({"shout", "checkpoint"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench"})

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        """Read the table into memory."""
        began = time.perf_counter()
        try:
            if isinstance(model, pillm.Checkpoint):
                rows = list(json.loads((model.path / TABLE).read_text("utf-8")).items())
            else:
                packed = model.path.read_bytes()
                if not packed.startswith(MAGIC):
                    raise ValueError("it does not begin like one")
                rows = json.loads(zlib.decompress(packed.removeprefix(MAGIC)))
        except (OSError, ValueError, zlib.error) as error:
            raise pillm.BackendError(f"{model.path} is not a table ({error}). Export it again.") from error
        return TableSession(rows, model.label, (time.perf_counter() - began) * 1000)


class TableSession(pillm.Session):
    """An open table."""

    def __init__(self, rows: list[tuple[str, str]], label: str, load_ms: float) -> None:
        self._rows = [(trigrams(asked), said) for asked, said in rows]
        self._label = label
        self._load_ms = load_ms

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Answer each request with what the nearest question was answered."""
        for request in requests:
            yield request, pillm.Answer(self._nearest(rendered(request.messages)), model=self._label)

    def _nearest(self, text: str) -> str:
        wanted = trigrams(text)
        return max(self._rows, key=lambda row: len(row[0] & wanted) / len(row[0] | wanted))[1]

    def bench(self, plan: pillm.BenchPlan) -> pillm.Benchmark:
        """Time reading a question of `pp` bytes, and answering until `tg` bytes are out."""
        question = ("allume la lampe " * plan.pp)[: plan.pp]
        samples: dict[str, list[float]] = {"pp": [], "tg": []}
        for _ in range(plan.repetitions):
            began = time.perf_counter()
            trigrams(question)
            read, given = time.perf_counter(), 0
            while given < plan.tg:
                given += len(self._nearest(question).encode()) or 1
            done = time.perf_counter()
            samples["pp"].append(plan.pp / (read - began))
            samples["tg"].append(given / (done - read))
        return pillm.Benchmark(
            model=self._label,
            device="this machine",
            basis="measured",
            pp_tps=median(samples["pp"]),
            tg_tps=median(samples["tg"]),
            pp=plan.pp,
            tg=plan.tg,
            repetitions=plan.repetitions,
            load_ms=self._load_ms,
            samples=samples,
        )


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
