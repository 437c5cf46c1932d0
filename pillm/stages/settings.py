"""How to label: what a run may be told beside its rows and its teacher."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pillm.backends import Filter, Teacher
from pillm.choosing import Choosing
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.judging import Judge
from pillm.reasoning import ReasoningPolicy
from pillm.records import JSONObject, Request
from pillm.validation import Checks

STATES = frozenset({"failed", "rejected", "pending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """How to label: answers per row and tries for each, the prompt contract, row filters, which rows, which to ask again."""

    attempts: int = 1
    """How often an answer that was refused is asked for, the first time included."""
    samples: int = 1
    """Answers wanted per row; all are kept, one is chosen."""
    choose: Choosing = "first"
    """How one of several accepted answers is chosen."""
    judge: Judge | None = None
    """Who compares answers where `choose` is "judge"."""
    repair: int = 0
    """How often a refused answer is shown to the teacher with what is wrong about it."""
    checks: Checks = field(default_factory=Checks)
    """What answers are checked for beside their row's schema."""
    reasoning: ReasoningPolicy = "strip"
    """What becomes of a trace in the labelled rows: "keep", "strip", or so many tokens of it; the store keeps it all."""
    contract: Contract = field(default_factory=Contract)
    filters: tuple[Filter, ...] = ()
    limit: int | None = None
    retry: frozenset[str] = frozenset()
    """States whose rows are asked again: "failed", "rejected" or both."""
    only: frozenset[str] = frozenset()
    """States whose rows alone are asked: "failed", "rejected", "pending"; empty: all."""
    reuse: tuple[Path, ...] = ()
    """Folders of other labellings, or runs, whose answers serve here too."""
    max_cost: float | None = None
    """The most US dollars that all runs on the folder together may spend."""
    max_tokens: int | None = None
    """The most tokens, of prompts and answers, that all runs on the folder together may take."""
    prices: Path | None = None
    """A prices.yaml, or a folder that may hold one."""
    shard: tuple[int, int] | None = None
    """(i, n): only the i-th of n parts of the rows, 1 <= i <= n; a row's part depends on its content alone."""

    def check(self, teacher: Teacher) -> None:
        """Raise ConfigError where settings contradict each other, or another sample would buy the same answer once more."""
        for what, number in (("attempts", self.attempts), ("samples", self.samples)):
            if number > 1 and not teacher.varies():
                raise ConfigError(
                    f"{what} is {number}, but teacher {teacher.name!r} at temperature 0 answers a question that is asked "
                    f"again as it did before. Nothing was asked. Give the teacher a temperature (0.7, say), or set {what} to 1."
                )
        if (self.choose == "judge") != (self.judge is not None):
            raise ConfigError(
                "a judge chooses where choose is 'judge', and only there: give both choose and judge, or none of them."
            )
        if self.judge and (self.max_cost is not None or self.max_tokens is not None):
            raise ConfigError(
                "max_cost and max_tokens do not reach the judge, so the cap could not be kept. Nothing was asked. Label with "
                "the caps first; then give the same command with the judge and without them: only the judge is asked."
            )
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError(f"shard {self.shard[0]}/{self.shard[1]} does not exist. The first of four is 1/4, the last 4/4.")

    def calls_left(self, request: Request) -> int:
        """Return how often a row may still be asked, this open request included."""
        return max(1, self.attempts - request.sample // self.samples) * (1 + self.repair)

    def made_of(self) -> JSONObject:
        """Return the settings that a labelled row depends on."""
        return {
            "attempts": self.attempts,
            "samples": self.samples,
            "choose": self.choose,
            "judge": self.judge.identity() if self.judge else None,
            "repair": self.repair,
            "checks": asdict(self.checks),
            "reasoning": self.reasoning,
            "limit": self.limit,
            "contract": self.contract.hash,  # rows that all arrive answered carry no request whose key would tell
        }
