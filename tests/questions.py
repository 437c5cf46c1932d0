"""What the tests of labelling ask: numbered questions, and a teacher that counts what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.testing import EchoTeacher

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Counting(EchoTeacher):
    """An echo that counts what it is asked."""

    name: ClassVar[str] = "counting"
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        def noted() -> Iterator[Request]:
            for request in requests:
                self.asked.append(request.prompt.id)
                yield request

        yield from super().answer(noted())


def prompts(count: int, **row: object) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}", **row}) for i in range(count)]
