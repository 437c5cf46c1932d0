"""What labelling would ask and cost, told before it asks anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from pillm.answers import Spend
from pillm.backends import Teacher
from pillm.records import Request
from pillm.seen import Seen
from pillm.stages.budget import Tariff
from pillm.stages.rowstates import Memory, Row, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What labelling would cost: its rows, what is settled already, what would be asked, tokens and money where known."""

    rows: int
    given: int
    """Rows that arrive answered."""
    stored: int
    """Questions whose answers are stored and would stand, rejected ones included."""
    failed: int
    """Questions that failed for good, and would be asked again on demand only."""
    to_ask: int
    """Questions that would be asked; rows that make the same request make one."""
    in_batches: int
    """Questions that wait in batches with the provider: they are paid for, and will be collected."""
    calls: int
    """The most calls that could become of them: more than questions where a rejected answer is asked for again."""
    prompt_tokens: int | None
    """Tokens of all these calls."""
    completion_tokens: int | None
    cost: float | None = None
    """US dollars of all these calls: 0 for a teacher that costs nothing, None where its price is not known."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """A look at every row before the first is asked."""

    memory: Memory
    teacher: Teacher
    tariff: Tariff
    states: Counter[str] = field(default_factory=Counter)
    """Rows by state, and those that are "given", "filtered" or "beyond" the limit."""
    _to_ask: int = 0
    _in_batches: int = 0
    _calls: int = 0
    _unknown: bool = False
    _prompt_tokens: int = 0
    _completion_tokens: int = 0
    _spend: Spend = field(default_factory=Spend)
    _questions: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Iterable[Row], heard: Callable[[Standing], object] = bool) -> None:
        """Look at the rows; `heard` is told where each stands."""
        with Seen() as seen:
            for row in rows:
                standing = self.memory.look(row)
                heard(standing)
                self._count(row, standing, seen)

    def _count(self, row: Row, standing: Standing, seen: Seen) -> None:
        limit = self.memory.settings.limit
        self.states[standing.state] += 1
        self.states["given"] += row.request is None and not row.filtered
        self.states["filtered"] += row.filtered
        if standing.state == "pending" and limit is not None and row.number >= limit:
            self.states["beyond"] += 1
        elif standing.state == "pending":
            for request in standing.open:
                if not seen.first(request.key):
                    continue
                if self.memory.in_a_batch(request):
                    self._in_batches += 1
                else:
                    self._ask(request)
        elif row.request and seen.first(row.request.key):
            self._questions[standing.state] += 1

    def _ask(self, request: Request) -> None:
        calls, usage = self.memory.settings.calls_left(request), self.teacher.estimate(request)
        self._to_ask += 1
        self._calls += calls
        if usage is None:
            self._unknown = True
            return
        self._prompt_tokens += usage.prompt_tokens * calls
        self._completion_tokens += usage.completion_tokens * calls
        cost = self.tariff.cost(usage)
        self._spend = self._spend + Spend(cost=None if cost is None else cost * calls)

    @property
    def forecast(self) -> Forecast:
        """Return what was found."""
        cost = Decimal(0) if self.tariff.free else None if self._unknown else self._spend.cost
        return Forecast(
            rows=sum(self.states[name] for name in ("answered", "rejected", "failed", "pending")),
            given=self.states["given"],
            stored=self._questions["answered"] + self._questions["rejected"],
            failed=self._questions["failed"],
            to_ask=self._to_ask,
            in_batches=self._in_batches,
            calls=self._calls,
            prompt_tokens=None if self._unknown else self._prompt_tokens,
            completion_tokens=None if self._unknown else self._completion_tokens,
            cost=None if cost is None else float(cost),
        )

    def settled(self) -> str:
        """Return a sentence on the rows that will not be asked, each kind apart; empty where all will be."""
        states, limit = self.states, self.memory.settings.limit
        rows = self.forecast.rows
        if states["pending"] == rows and not states["beyond"]:
            return ""
        others = (
            (states["rejected"] - states["filtered"], "rejected before"),
            (states["failed"], "failed for good before"),
            (states["filtered"], "left out by a filter"),
            (states["beyond"], f"beyond the limit of {limit} and not asked"),
        )
        told = [f"{states['answered']} of {rows} rows are answered already"]
        return ", ".join([*told, *(f"{number} {what}" for number, what in others if number)])
