"""A cap is kept: money is set aside before a call is sent, and all runs on a folder count together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from pillm.answers import AnswerStore
from pillm.errors import ConfigError, Unavailable
from pillm.records import Answer, Failure, Prompt, Request, Usage
from pillm.rows import prompt_from_row
from pillm.stages.labelling import STORE, Labelling, forecast, label
from pillm.testing import EchoTeacher


class Paid(EchoTeacher):
    """Costs money; forecasts so many tokens a call and takes so many."""

    name: ClassVar[str] = "paid"
    model: str = "big"
    forecasts: int = Field(100, json_schema_extra={"key": False})
    takes: int = Field(50, json_schema_extra={"key": False})
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})

    def tariff(self) -> tuple[str, str]:
        return self.model, "http://127.0.0.1:1/v1"

    def estimate(self, request: Request) -> Usage:
        return Usage(completion_tokens=self.forecasts)

    def _reply(self, request: Request) -> Answer | Failure:
        self.asked.append(request.key)
        return Answer("said", usage=Usage(completion_tokens=self.takes))


def prompts(count: int) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(count)]


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text("- {model: big, input: 1000, output: 10000}\n")  # a cent a token of an answer
    return path


def test_a_cap_stops_before_the_call_that_might_break_it(tmp_path: Path, prices: Path) -> None:
    teacher = Paid()
    capped = Labelling(max_cost=3.2, prices=prices)
    with pytest.raises(
        Unavailable, match=r"max_cost 3\.2\): 250 tokens for \$2\.5000 are spent.*5 answered.*15 pending.*Raise the cap"
    ):
        label(prompts(20), teacher, tmp_path / "out", settings=capped)
    assert len(teacher.asked) == 5  # the sixth would be forecast to end at 3.5
    with pytest.raises(Unavailable, match="are spent"):
        label(prompts(20), Paid(), tmp_path / "out", settings=capped)
    done = label(prompts(20), Paid(), tmp_path / "out", settings=Labelling(max_cost=100, prices=prices))
    assert done.counts.answered == 20
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().cost == Decimal(10)


def test_what_was_set_aside_too_much_is_given_back(tmp_path: Path, prices: Path) -> None:
    # eight in flight are forecast at 8 dollars: more than the cap, but they take 4
    done = label(prompts(8), Paid(window=8), tmp_path / "out", settings=Labelling(max_cost=5, prices=prices))
    assert done.counts.answered == 8


@given(
    forecasts=st.integers(1, 30),
    takes=st.integers(1, 30),
    window=st.integers(1, 6),
    cap=st.integers(0, 200),
    rows=st.integers(1, 12),
)
@settings(deadline=None, max_examples=20)
def test_tokens_never_pass_the_cap_by_more_than_forecasts_were_too_low(
    forecasts: int, takes: int, window: int, cap: int, rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out, teacher = tmp_path_factory.mktemp("out"), Paid(forecasts=forecasts, takes=takes, window=window)
    try:
        label(prompts(rows), teacher, out, settings=Labelling(max_tokens=cap))
    except Unavailable:
        assert len(teacher.asked) < rows
    spent = len(teacher.asked) * takes
    assert spent <= cap + window * max(0, takes - forecasts)
    if takes <= forecasts and cap >= rows * forecasts:
        assert len(teacher.asked) == rows


def test_a_cap_on_an_unknown_price_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    teacher = Paid(model="nobody-knows")
    with pytest.raises(ConfigError, match=r"nobody knows what 'nobody-knows' costs.*prices\.yaml.*--max-tokens"):
        label(prompts(2), teacher, tmp_path, settings=Labelling(max_cost=1))
    assert not teacher.asked


def test_a_cap_that_no_forecast_can_keep_is_refused(tmp_path: Path, prices: Path) -> None:
    class Unsure(Paid):
        """Cannot tell."""

        name: ClassVar[str] = "unsure"

        def estimate(self, request: Request) -> None:  # type: ignore[override]
            return None

    with pytest.raises(ConfigError, match="cannot forecast"):
        label(prompts(2), Unsure(), tmp_path / "out", settings=Labelling(max_tokens=10))


def test_a_forecast_says_what_it_will_cost_and_what_nobody_knows(tmp_path: Path, prices: Path) -> None:
    assert forecast(prompts(3), Paid(), tmp_path / "out", Labelling(prices=prices)).cost == pytest.approx(3.0)
    assert forecast(prompts(3), Paid(model="nobody-knows"), tmp_path / "out").cost is None
    assert forecast(prompts(3), EchoTeacher(), tmp_path / "out").cost == 0


def test_a_price_that_is_learnt_later_prices_earlier_calls(tmp_path: Path, prices: Path) -> None:
    label(prompts(4), Paid(), tmp_path / "out")
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().cost is None
    with pytest.raises(Unavailable, match=r"\$2\.0000 are spent"):
        label(prompts(9), Paid(), tmp_path / "out", settings=Labelling(prices=prices, max_cost=2.5))


def test_a_call_that_was_never_heard_of_again_counts_as_much_as_was_set_aside(tmp_path: Path, prices: Path) -> None:
    class Dies(Paid):
        """Takes a request with it."""

        name: ClassVar[str] = "paid"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            next(requests, None)
            yield from super().answer(requests)

    with pytest.raises(Unavailable, match=r"\$1\.0000 are spent.*2 pending"):
        label(prompts(2), Dies(), tmp_path / "out", settings=Labelling(prices=prices, max_cost=1.2))
    with AnswerStore(tmp_path / "out" / STORE, read_only=True) as store:
        assert store.spent().cost == Decimal(1)


def test_a_cap_is_refused_where_what_was_lost_has_no_price(tmp_path: Path, prices: Path) -> None:
    class Loses(Paid):
        """Takes a request and answers none."""

        name: ClassVar[str] = "paid"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            next(requests, None)
            yield from ()

    label(prompts(1), Loses(), tmp_path / "out")
    teacher, capped = Paid(), Labelling(prices=prices, max_cost=5)
    with pytest.raises(ConfigError, match=r"never heard of.*--reuse of this folder"):
        label(prompts(3), teacher, tmp_path / "out", settings=capped)
    assert not teacher.asked
    done = label(prompts(3), teacher, tmp_path / "new", settings=replace(capped, reuse=(tmp_path / "out",)))
    assert done.counts.answered == 3
