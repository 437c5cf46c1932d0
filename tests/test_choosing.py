"""Which of several answers is chosen, and by how many votes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.choosing import Candidate, Choosing, choose, vote
from pillm.records import Answer

TEXTS = st.sampled_from(["a", "b", '{"n": 1}', '{"n":1.0}', '```json\n{"n": 1}\n```', "", "{"])
CANDIDATES = st.lists(
    st.tuples(TEXTS, st.booleans(), st.none() | st.floats(0, 10)), max_size=7
).map(lambda rows: [
    Candidate(number=number, answer=Answer(text), accepted=accepted, score=score)
    for number, (text, accepted, score) in enumerate(rows)
])  # fmt: skip
HOW: st.SearchStrategy[Choosing] = st.sampled_from(("first", "majority", "judge"))


def candidates(*texts: str, refused: tuple[int, ...] = (), scores: dict[int, float] | None = None) -> list[Candidate]:
    return [
        Candidate(number=number, answer=Answer(text), accepted=number not in refused, score=(scores or {}).get(number))
        for number, text in enumerate(texts)
    ]


def test_the_first_that_was_accepted_is_taken_unless_told_otherwise() -> None:
    assert choose(candidates("x", "y", "z", refused=(0,))).number == 1


def test_the_majority_is_of_json_values_however_they_are_written() -> None:
    found = choose(candidates('{"a": 2}', '{"b": 2, "a": 1}', '```json\n{"a": 1.0, "b": 2}\n```'), "majority", as_json=True)
    assert (found.number, found.votes) == (1, {0: 1, 1: 2, 2: 2})


def test_the_majority_is_of_words_however_they_are_spaced() -> None:
    found = choose(candidates("non", "e\u0301te\u0301  chaud", "\u00e9t\u00e9\nchaud "), "majority")
    assert (found.number, found.votes) == (1, {0: 1, 1: 2, 2: 2})


def test_refused_answers_have_no_vote_and_ties_go_to_the_earliest() -> None:
    assert choose(candidates("b", "b", "b", "a", "c", refused=(0, 1, 2)), "majority").number == 3


def test_the_judge_s_best_is_taken_and_a_sample_without_a_score_never_beats_one_that_has_one() -> None:
    assert choose(candidates("a", "b", "c", scores={1: 0.0, 2: 0.0}), "judge").number == 1
    assert choose(candidates("a", "b", "c", scores={1: 1.0, 2: 1.5}), "judge").number == 2
    assert choose(candidates("a", "b", "c", scores={2: 9.0}, refused=(2,)), "judge").number == 0


def test_tool_calls_vote_by_name_and_arguments() -> None:
    def called(arguments: Any, id: str) -> Answer:
        return Answer("", tool_calls=({"id": id, "function": {"name": "f", "arguments": arguments}},))

    assert vote(called('{"a": 1}', "1")) == vote(called({"a": 1.0}, "2"))
    assert vote(called('{"a": 1}', "1")) != vote(called('{"a": 2}', "1"))
    assert vote(called("{torn", "1")) != vote(called("{", "1"))
    assert vote(Answer("", tool_calls=({"function": "f"},))) != vote(Answer(""))


@settings(deadline=None)
@given(CANDIDATES, HOW, st.booleans(), st.randoms(use_true_random=False))
def test_an_accepted_one_is_chosen_whenever_there_is_one_in_whatever_order_they_come(
    given_: list[Candidate], how: Choosing, as_json: bool, random: Any
) -> None:
    found = choose(given_, how, as_json=as_json)
    accepted = [one.number for one in given_ if one.accepted]
    assert (found.number in accepted) if accepted else found.number is None
    assert set(found.votes) <= set(accepted)
    shuffled = random.sample(given_, len(given_))
    assert choose(shuffled, how, as_json=as_json) == found


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3), st.sampled_from([None, 1]))
def test_one_value_is_one_vote_whatever_its_layout(value: dict[str, Any], indent: int | None) -> None:
    said = Answer(json.dumps(value, indent=indent))
    assert vote(said, as_json=True) == vote(Answer(json.dumps(value, sort_keys=True, ensure_ascii=False)), as_json=True)
