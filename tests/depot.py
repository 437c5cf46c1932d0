"""A provider's batch queue as a folder of files: what was submitted is there, whoever is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from pillm.batches import BatchError, BatchMode, BatchStatus, BatchTeacher
from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Prompt, Request, Usage
from pillm.rows import prompt_from_row
from pillm.stages.labelling import Labelled, label

FREE: dict[str, Any] = {"key": False}
TROUBLES = {
    "busy": BatchError("the depot is busy", passing=True, taken=False),
    "no account": BatchError("no account", taken=False),
}


class Depot(BatchTeacher):
    """Sells in batches, and one by one where `batched` is off; what it sold is in the files."""

    name: ClassVar[str] = "depot"
    folder: Path = Field(description="Where it keeps what it sold.", json_schema_extra=FREE)
    batched: bool = Field(True, description="Sell in batches.", json_schema_extra=FREE)
    size: int = Field(3, description="Requests of a batch.", json_schema_extra=FREE)
    at_once: int = Field(2, description="Batches at a time.", json_schema_extra=FREE)
    waits: bool = Field(True, description="Wait for batches.", json_schema_extra=FREE)
    looks: int = Field(1, description="Looks until a batch has ended.", json_schema_extra=FREE)
    room: int | None = Field(None, description="Characters of a batch.", json_schema_extra=FREE)
    gives_up: bool = Field(False, description="Give batches up that are gone.", json_schema_extra=FREE)
    priced: str = Field("", description="A model in the price list; free without.", json_schema_extra=FREE)
    closed: list[bool | str] = Field(
        default_factory=list, description="What each next question to the queue meets.", json_schema_extra=FREE
    )
    """Whether it finds it closed, or a name of TROUBLES."""
    says: dict[str, Any] = Field(default_factory=dict, description="What it says to a row.", json_schema_extra=FREE)
    """Row id: a Failure, or "nothing"; the others are answered."""

    def batch_mode(self) -> BatchMode:
        return BatchMode(
            active=self.batched,
            size=self.size,
            max_bytes=self.room,
            at_once=self.at_once,
            poll=0.01,
            wait=self.waits,
            give_up=self.gives_up,
            price=Decimal("0.5"),
        )

    def tariff(self) -> tuple[str, str] | None:
        return (self.priced, "http://depot.invalid/v1") if self.priced else None

    def measure(self, request: Request) -> int:
        return len(str(request.messages[-1]["content"]))

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self._sell(request.key)
            yield request, Answer(f"one by one: {request.prompt.id}")

    def estimate(self, request: Request) -> Usage:
        return Usage(prompt_tokens=5, completion_tokens=5)

    def submit(self, requests: Sequence[Request], name: str) -> str:
        self._ask()
        self.folder.mkdir(exist_ok=True, parents=True)
        part = self.folder / f"{name}.part"
        part.write_text(json.dumps([[one.key, one.prompt.id] for one in requests]))
        part.rename(self.folder / f"batch-{name}.json")
        return f"batch-{name}"

    def find(self, name: str) -> str | None:
        self._ask()
        return f"batch-{name}" if (self.folder / f"batch-{name}.json").exists() else None

    def poll(self, batch: str) -> BatchStatus:
        self._ask()
        if not (self.folder / f"{batch}.json").exists():
            raise BatchError(f"the depot has no {batch} any more", gone=True)
        total, seen = len(self._requests(batch)), self.folder / f"{batch}.looks"
        looks = len(seen.read_bytes()) if seen.exists() else 0
        descriptor = os.open(seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)
        return BatchStatus(ended=looks >= self.looks, done=total if looks >= self.looks else 0, total=total)

    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        self._ask()
        for key, row in reversed(self._requests(batch)):
            if isinstance(said := self.says.get(row), Failure):
                yield key, said
            elif self.says.get(row) != "nothing":
                yield key, Answer(f"said to {row}", usage=Usage(prompt_tokens=3, completion_tokens=2))
        yield "v1:somebody-else", Answer("not ours")

    def _requests(self, batch: str) -> list[list[str]]:
        found: list[list[str]] = json.loads((self.folder / f"{batch}.json").read_text())
        return found

    def _ask(self) -> None:
        heard = self.closed.pop(0) if self.closed else False
        if heard:
            raise TROUBLES[heard] if isinstance(heard, str) else Unavailable("the depot is closed")

    def _sell(self, key: str) -> None:
        descriptor = os.open(self.folder.with_name("ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{key}\n".encode())
        os.close(descriptor)

    def sold(self) -> list[str]:
        """Return the key of every request that was taken, one by one or in a batch."""
        path = self.folder.with_name("ledger")
        alone = path.read_text().split() if path.exists() else []
        return alone + [key for file in self.folder.glob("*.json") for key, _ in self._requests(file.stem)]


def prompts(count: int, first: int = 0) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(first, first + count)]


def depot(folder: Path, **options: Any) -> Depot:
    return Depot(folder=folder / "depot", **options)


def go(folder: Path, count: int = 8, **options: Any) -> Labelled:
    settings = options.pop("settings", None)
    return label(prompts(count), depot(folder, **options), folder / "out", settings=settings)


def answers(labelled: Labelled) -> dict[str, str]:
    return {example.prompt.id: example.answer.content for example in labelled}


def lose(folder: Path, which: int = 0) -> int:
    """Have a depot forget a batch; return how many requests were in it."""
    path = sorted((folder / "depot").glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[which]
    held = len(json.loads(path.read_text()))
    path.unlink()
    return held
