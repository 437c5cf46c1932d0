"""Answers through a provider's batch queue: cheaper and later than one by one. What such a teacher subclasses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pillm.backends import Teacher
from pillm.errors import Unavailable
from pillm.records import Answer, Failure, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMode:
    """How a teacher wants its requests in batches."""

    active: bool = True
    """Whether requests go into batches; else they are asked one by one, and batches of earlier runs are collected."""
    size: int = 10_000
    """The most requests of one batch."""
    max_bytes: int | None = None
    """The most bytes of one batch, as `measure` counts them."""
    at_once: int = 4
    """The most batches with the provider at a time."""
    poll: float = 60.0
    """Seconds between two looks at a batch."""
    wait: bool = True
    """Whether to wait for batches; else what is done is collected, and the next run looks again."""
    give_up: bool = False
    """Whether the requests of batches that are `gone` are asked anew; they may be paid for twice."""
    price: Decimal = Decimal(1)
    """What a call in a batch costs, as a share of what it costs alone."""

    def __post_init__(self) -> None:
        """Raise ValueError where no request could ever be submitted, or the provider would be asked without a pause."""
        if self.size < 1 or self.at_once < 1 or self.poll <= 0:
            raise ValueError("a batch takes at least one request, one batch may be with the provider, and looks have pauses")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """Where a batch stands with its provider."""

    ended: bool
    done: int = 0
    total: int = 0
    failure: Failure | None = None
    """What became of the requests that an ended batch has no result for. One that says `stop` means that the provider
    turned the whole batch down: none of it was asked, none is billed, and all of it may be asked again."""


class BatchError(Unavailable):
    """A provider did not do what it was asked about a batch.

    `passing`: the same question may be answered in a while, after `wait` seconds where the provider says so. `gone`: the
    provider has that batch, or results of it, no more. `taken` is False where a submission certainly did not arrive: only
    then is it submitted again; where nobody knows, the next run looks for it by its name.
    """

    def __init__(
        self, message: str, *, passing: bool = False, wait: float = 0.0, gone: bool = False, taken: bool | None = None
    ) -> None:
        super().__init__(message)
        self.passing, self.wait, self.gone, self.taken = passing, wait, gone, taken


class BatchTeacher(Teacher):
    """Answers requests through a provider's batch queue where its mode is active, else one by one as any teacher.

    `label` records requests, name and id of a batch before and after it is submitted, so that a run which was killed finds
    it again. Every method that asks the provider returns soon, and raises BatchError where it got no answer.
    """

    @abstractmethod
    def batch_mode(self) -> BatchMode:
        """Return how to make batches."""

    def measure(self, request: Request) -> int:
        """Return the bytes of a request in a batch; 0 where nothing bounds them."""
        return 0

    @abstractmethod
    def submit(self, requests: Sequence[Request], name: str) -> str:
        """Hand a batch over under a name that `find` will know it by, and return the provider's id."""

    @abstractmethod
    def find(self, name: str) -> str | None:
        """Return the id of the batch that was submitted under a name.

        None says that the provider certainly has none: then its requests are asked again.
        """

    @abstractmethod
    def poll(self, batch: str) -> BatchStatus:
        """Return where a batch stands."""

    @abstractmethod
    def collect(self, batch: str) -> Iterator[tuple[str, Answer | Failure]]:
        """Yield request key and result of all that an ended batch has results for."""
