"""Pairwise judging: the order is swapped, only consistent preferences count, and every style ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.records import Answer, Prompt
from pillm.tournament import Contest, Style, judge_contests, preference

STYLES: st.SearchStrategy[Style] = st.sampled_from(("round-robin", "knockout"))
TEXTS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=7)


class Bench:
    """A judge by a rule, which counts what it is asked; `rule` gets the texts shown as A and B."""

    def __init__(self, rule: Callable[[str, str], str]) -> None:
        self.rule, self.asked, self.rounds = rule, 0, 0

    def __call__(self, questions: Sequence[Prompt]) -> Mapping[str, Answer]:
        self.rounds += 1
        self.asked += len(questions)
        told = {}
        for question in questions:
            shown = json.loads(question.text)
            winner = self.rule(shown["answer_A"], shown["answer_B"])
            told[question.id] = Answer(json.dumps({"reason": "so", "winner": winner}))
        return told


def longer(a: str, b: str) -> str:
    return "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"


def contest(*texts: str, prompt: str = "?") -> Contest:
    row = Prompt(id=prompt, messages=({"role": "user", "content": prompt},))
    return Contest(prompt=row, answers={number: Answer(text) for number, text in enumerate(texts)})


@pytest.mark.parametrize(
    ("forward", "backward", "outcome"),
    [
        ("A", "B", "first"), ("B", "A", "second"), ("A", "A", "tie"), ("B", "B", "tie"), ("tie", "B", "tie"),
        ("tie", "tie", "tie"), (None, "A", None), ("A", None, None),
    ],
)  # fmt: skip
def test_only_a_preference_that_survives_the_swap_counts(forward: str, backward: str, outcome: str) -> None:
    assert preference(forward, backward) == outcome  # type: ignore[arg-type]


def test_a_judge_that_always_prefers_the_first_prefers_nothing() -> None:
    (found,) = judge_contests([contest("a", "b", "c")], Bench(lambda a, b: "A"))
    assert set(found.outcomes.values()) == {"tie"}
    assert found.scores == {0: 0.5, 1: 0.5, 2: 0.5}


def test_a_round_robin_asks_every_pair_twice_in_one_round() -> None:
    bench = Bench(longer)
    (found,) = judge_contests([contest("a", "aaa", "aa", "aaaa")], bench)
    assert (bench.asked, bench.rounds) == (12, 1)
    assert found.scores == {0: 0.0, 1: pytest.approx(2 / 3), 2: pytest.approx(1 / 3), 3: 1.0}


def test_a_knockout_asks_each_loser_once_and_all_contests_of_a_round_together() -> None:
    bench = Bench(longer)
    found = judge_contests(
        [contest("a", "aaa", "aa", "aaaa", prompt="x"), contest("b", "bb", prompt="y")], bench, style="knockout"
    )
    assert (bench.asked, bench.rounds) == (2 * 3 + 2 * 1, 2)
    assert found[0].scores == {0: 0.0, 1: 0.5, 2: 0.0, 3: 1.0}
    assert found[1].scores == {0: 0.0, 1: 1.0}


def test_equal_answers_tie_without_being_asked() -> None:
    bench = Bench(longer)
    (found,) = judge_contests([contest("same", "same ", "same")], bench)
    assert bench.asked == 0
    assert set(found.outcomes.values()) == {"tie"}


def test_a_missing_verdict_is_no_tie() -> None:
    (found,) = judge_contests([contest("a", "b")], lambda questions: {})
    assert found.outcomes == {(0, 1): None}
    assert found.scores == {}


def test_a_verdict_that_cannot_be_used_counts_for_nobody() -> None:
    (found,) = judge_contests([contest("a", "bb", "ccc")], Bench(lambda a, b: "nonsense" if "a" in a + b else longer(a, b)))
    assert found.scores == {1: 0.0, 2: 1.0}


@settings(deadline=None)
@given(TEXTS, STYLES)
def test_the_best_by_a_consistent_judge_has_the_best_score(texts: list[str], style: Style) -> None:
    bench = Bench(longer)
    (found,) = judge_contests([contest(*texts)], bench, style=style)
    number = len(texts)
    assert bench.asked <= (number * (number - 1) if style == "round-robin" else 2 * (number - 1))
    assert all(0 <= score <= 1 for score in found.scores.values())
    if number > 1:
        best = max(found.scores, key=lambda one: (found.scores[one], -one))
        assert len(texts[best]) == max(map(len, texts))


@settings(deadline=None)
@given(TEXTS, STYLES, st.randoms(use_true_random=False))
def test_a_contest_ends_whatever_the_judge_says(texts: list[str], style: Style, random: object) -> None:
    words = ["A", "B", "tie", "neither"]
    (found,) = judge_contests([contest(*texts)], Bench(lambda a, b: random.choice(words)), style=style)  # type: ignore[attr-defined]
    assert all(0 <= score <= 1 for score in found.scores.values())
