"""Answers through a provider's batch queue: cheaper and later than one by one. What such a teacher subclasses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pillm.backends import Teacher
from pillm.records import Answer, Failure, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMode:
    """How a teacher wants its requests in batches."""

    size: int = 10_000
    """The most requests of one batch."""
    at_once: int = 4
    """The most batches with the provider at a time."""
    poll: float = 60.0
    """Seconds between two looks at a batch."""
    wait: bool = True
    """Whether to wait for batches; else what is done is collected, and the next run looks again."""
    price: Decimal = Decimal(1)
    """What a call in a batch costs, as a share of what it costs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """Where a batch stands with its provider."""

    ended: bool
    done: int = 0
    total: int = 0
    failure: Failure | None = None
    """What became of the requests that an ended batch has no result for."""


class BatchTeacher(Teacher):
    """Answers requests through a provider's batch queue where `batch_mode` says so, else one by one as any teacher.

    `label` records requests, name and id of a batch before and after it is submitted, so that a run which was killed finds
    it again; every method raises Unavailable where the provider cannot be asked now.
    """

    @abstractmethod
    def batch_mode(self) -> BatchMode | None:
        """Return how to make batches, or None to ask one by one; batches of earlier runs are collected all the same."""

    @abstractmethod
    def submit(self, requests: Sequence[Request], name: str) -> str:
        """Hand a batch over under a name that `find` will know it by, and return the provider's id."""

    @abstractmethod
    def find(self, name: str) -> str | None:
        """Return the id of the batch that was submitted under a name, or None where the provider has none."""

    @abstractmethod
    def poll(self, batch: str) -> BatchStatus:
        """Return where a batch stands."""

    @abstractmethod
    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        """Yield request key and result of all that an ended batch has results for."""
