"""A provider's batch queue as a folder of files: what was submitted is there, whoever is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pillm.batches import BatchMode, BatchStatus, BatchTeacher
from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Request, Usage


class Depot(BatchTeacher):
    """Sells in batches, and one by one where `batched` is off; what it sold is in the files."""

    name: ClassVar[str] = "depot"
    folder: Path = Field(json_schema_extra={"key": False})
    batched: bool = Field(True, json_schema_extra={"key": False})
    size: int = Field(3, json_schema_extra={"key": False})
    at_once: int = Field(2, json_schema_extra={"key": False})
    waits: bool = Field(True, json_schema_extra={"key": False})
    looks: int = Field(1, description="Looks until a batch has ended.", json_schema_extra={"key": False})
    closed: list[bool] = Field(default_factory=list, json_schema_extra={"key": False})
    """Whether each next question to the queue finds it closed."""
    says: dict[str, str] = Field(default_factory=dict, json_schema_extra={"key": False})
    """Row id: "fail" or "nothing"; the others are answered."""

    def batch_mode(self) -> BatchMode | None:
        return BatchMode(size=self.size, at_once=self.at_once, poll=0.01, wait=self.waits) if self.batched else None

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
        total, seen = len(self._requests(batch)), self.folder / f"{batch}.looks"
        looks = len(seen.read_bytes()) if seen.exists() else 0
        descriptor = os.open(seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)
        return BatchStatus(ended=looks >= self.looks, done=total if looks >= self.looks else 0, total=total)

    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        self._ask()
        for key, row in reversed(self._requests(batch)):
            if self.says.get(row) == "fail":
                yield key, Failure("refused", "not for sale")
            elif self.says.get(row) != "nothing":
                yield key, Answer(f"said to {row}", usage=Usage(prompt_tokens=3, completion_tokens=2))
        yield "v1:somebody-else", Answer("not ours")

    def _requests(self, batch: str) -> list[list[str]]:
        found: list[list[str]] = json.loads((self.folder / f"{batch}.json").read_text())
        return found

    def _ask(self) -> None:
        if self.closed and self.closed.pop(0):
            raise Unavailable("the depot is closed")

    def _sell(self, key: str) -> None:
        descriptor = os.open(self.folder.with_name("ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{key}\n".encode())
        os.close(descriptor)

    def sold(self) -> list[str]:
        """Return the key of every request that was taken, one by one or in a batch."""
        path = self.folder.with_name("ledger")
        alone = path.read_text().split() if path.exists() else []
        return alone + [key for file in self.folder.glob("*.json") for key, _ in self._requests(file.stem)]
