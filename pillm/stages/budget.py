"""Money and tokens: set aside before a call is sent, corrected by what it took, never above the cap, over all runs together."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from pillm.answers import AnswerStore, Spend
from pillm.backends import Teacher
from pillm.batches import BatchTeacher
from pillm.errors import ConfigError
from pillm.prices import Price, find_price
from pillm.records import Answer, Request, Usage
from pillm.stages.settings import Labelling


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a teacher's calls cost: nothing, a price, or nobody knows."""

    free: bool = False
    price: Price | None = None
    share: Decimal = Decimal(1)
    """What the next call costs of its price: in a batch it is cheaper."""

    @classmethod
    def of(cls, teacher: Teacher, settings: Labelling) -> Self:
        """Look a teacher up in the price lists; raise ConfigError where a list of the user's is wrong."""
        listed = teacher.tariff()
        if listed is None:
            return cls(free=True)
        mode = teacher.batch_mode() if isinstance(teacher, BatchTeacher) else None
        share = mode.price if mode and mode.active else Decimal(1)
        return cls(price=find_price(*listed, user=settings.prices), share=share)

    def cost(self, usage: Usage, share: Decimal | None = None) -> Decimal | None:
        """Return the dollars of a call, the next one where no `share` of the price is given; None where unknown."""
        if self.free:
            return Decimal(0)
        return self.price.cost(usage) * (self.share if share is None else share) if self.price else None

    def spend(self, usage: Usage, share: Decimal | None = None) -> Spend:
        """Return tokens and dollars of a call."""
        return Spend(tokens=usage.prompt_tokens + usage.completion_tokens, cost=self.cost(usage, share))


@dataclass(slots=True, kw_only=True)
class Budget:
    """What may still be spent: a call is allowed where all that is spent, set aside and forecast stays within the caps."""

    tariff: Tariff
    teacher: Teacher
    settings: Labelling
    spent: Spend
    exhausted: bool = False
    """Whether a call was not allowed though nothing was in flight whose price might turn out lower."""
    _aside: dict[str, Spend] = field(default_factory=dict)
    _total: Spend = field(default_factory=Spend)
    """What is set aside altogether."""

    @classmethod
    def of(cls, settings: Labelling, teacher: Teacher, store: AnswerStore) -> Self:
        """Return the budget of a run, earlier runs counted; raise ConfigError where a cap could not be kept."""
        tariff = Tariff.of(teacher, settings)
        if settings.max_cost is not None and not tariff.free and tariff.price is None:
            model = (teacher.tariff() or ("",))[0]
            raise ConfigError(
                f"max_cost is set, but nobody knows what {model!r} costs, so the cap could not be kept. Nothing was asked. "
                f"Write its price into a prices.yaml (- {{model: {model}, input: 0.40, output: 1.60}}, dollars per million "
                "tokens) and name it: --prices prices.yaml. Or cap tokens instead: --max-tokens."
            )
        for call, usage, share in store.unpriced() if tariff.price else ():
            store.priced(call, tariff.spend(usage, share))
        spent = store.spent()
        if settings.max_cost is not None and spent.cost is None:
            remedy = (
                "wait in batches. Nothing was asked. Leave max_cost out until they are collected"
                if store.unpriced_in_batches()
                else "were never heard of. Nothing was asked. Label into another --out, with --reuse of this folder"
            )
            raise ConfigError(
                f"max_cost is set, but the cap could not be kept: calls recorded in {store.path.parent} were sent without a "
                f"known price and {remedy}."
            )
        return cls(tariff=tariff, teacher=teacher, settings=settings, spent=spent)

    def __str__(self) -> str:
        cost = "an unknown price" if self.spent.cost is None else f"${self.spent.cost:.4f}"
        caps = [] if self.settings.max_cost is None else [f"max_cost {self.settings.max_cost:g}"]
        caps += [] if self.settings.max_tokens is None else [f"max_tokens {self.settings.max_tokens}"]
        return f"the next call might break the cap ({', '.join(caps)}): {self.spent.tokens:,} tokens for {cost} are spent"

    @property
    def _capped(self) -> bool:
        return self.settings.max_cost is not None or self.settings.max_tokens is not None

    def allows(self, request: Request) -> bool:
        """Say whether a request may be sent now."""
        if not self._capped:
            return True
        needed = self._forecast(request)
        if needed is None:
            raise ConfigError(
                f"teacher {self.teacher.name!r} cannot forecast what a call takes, so no cap could be kept. Leave max_cost and "
                "max_tokens out."
            )
        after = self.spent + self._total + needed
        if self._within(after):
            return True
        self.exhausted = not self._aside
        return False

    def _within(self, spend: Spend) -> bool:
        most, tokens = self.settings.max_cost, self.settings.max_tokens
        return (most is None or (spend.cost is not None and spend.cost <= Decimal(str(most)))) and (
            tokens is None or spend.tokens <= tokens
        )

    def _forecast(self, request: Request) -> Spend | None:
        usage = self.teacher.estimate(request)
        return None if usage is None else self.tariff.spend(usage)

    def reserve(self, request: Request) -> Spend | None:
        """Set aside what a call may take, and return it; None where nobody can tell."""
        needed = self._forecast(request)
        if needed is not None:
            self._aside[request.key] = needed
            self._total = self._total + needed
        return needed

    def take_up(self, request: Request, aside: Spend) -> None:
        """Set aside again what an earlier run set aside for a call: it counts as spent until its result is here."""
        cost = None if self.spent.cost is None or aside.cost is None else self.spent.cost - aside.cost
        self.spent = Spend(tokens=self.spent.tokens - aside.tokens, cost=cost)
        self._aside[request.key] = aside
        self._total = self._total + aside

    def settle(self, request: Request, answer: Answer | None, *, billed: bool = False, share: Decimal | None = None) -> Spend:
        """Put what a call took, at a share of its price, in the place of what was set aside, and return it.

        A call without an answer took nothing, unless it may have been `billed`: then all that was set aside.
        """
        aside = self._aside.pop(request.key, None)
        if aside is not None:
            cost = None if self._total.cost is None or aside.cost is None else self._total.cost - aside.cost
            self._total = Spend(tokens=self._total.tokens - aside.tokens, cost=cost) if self._aside else Spend()
        if answer is None and not billed:
            return Spend()
        took = (
            self.tariff.spend(answer.usage, share)
            if answer and answer.usage
            else aside or Spend(cost=self.tariff.cost(Usage()))
        )
        self.spent = self.spent + took
        return took
