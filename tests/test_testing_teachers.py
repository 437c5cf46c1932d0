"""A teacher that breaks a rule of the protocol is told which, by its conformance check."""

import threading
from typing import ClassVar

import pytest
from pydantic import Field

from pillm import Answer, Failure, Prompt, Teacher
from pillm.contract import Contract
from pillm.testing import ConformanceError, EchoTeacher, check_teacher, sample_examples


def test_a_failing_question_is_a_failure_and_keeps_the_protocol():
    first = sample_examples()[0].prompt
    assert isinstance(check_teacher(EchoTeacher(fails=(first.text,), window=3))[0], Failure)


class Wrong(Teacher):
    """Breaks one rule, as told."""

    name: ClassVar[str] = "wrong"
    rule: str = Field("none", description="Which rule to break.")

    def answer(self, requests):
        if self.rule == "thread":
            pulled = []
            puller = threading.Thread(target=lambda: pulled.extend(requests))
            puller.start()
            puller.join()
            requests = iter(pulled)
        if self.rule == "greedy":
            requests = iter(list(requests))
        for number, request in enumerate(requests):
            if self.rule == "silent" and number == 1:
                continue
            if self.rule == "bare":
                yield "text"
            elif self.rule == "text":
                yield request, "text"
            elif self.rule == "stranger":
                yield Contract().request(Prompt(id="x", messages=()), {}), Answer("a")
            elif self.rule == "mute":
                yield request, Failure("server", "")
            elif self.rule == "list":
                yield request, Answer(["a"])
            elif self.rule == "logprobs":
                yield request, Answer("a", token_ids=(1, 2), logprobs=(((1, -0.1),),))
            elif self.rule == "positive":
                yield request, Answer("a", token_ids=(1,), logprobs=(((1, 0.5),),))
            else:
                yield request, Answer("a")
                if self.rule == "twice":
                    yield request, Answer("a")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("thread", "another thread"),
        ("greedy", "pulled 512 requests"),
        ("silent", "never answered sample-2"),
        ("bare", r"\(request, answer\) pairs"),
        ("text", "an Answer or a Failure, not 'text'"),
        ("stranger", "the requests it was given"),
        ("mute", "without a sentence"),
        ("list", "not text"),
        ("logprobs", "another number of tokens"),
        ("positive", "above 0"),
        ("twice", "'sample-1' twice"),
    ],
)
def test_a_teacher_that_breaks_a_rule_is_told_which(rule, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_teacher(Wrong(rule=rule))


@pytest.mark.parametrize(("option", "value"), [("temperature", 0.5), ("constrain", True)])
def test_a_teacher_that_evaluations_cannot_ask_plainly_is_told(option, value):
    class Set(EchoTeacher):
        """Keeps its options whoever asks."""

        name: ClassVar[str] = "set"
        temperature: float = Field(0.0, description="How warm.")
        constrain: bool = Field(False, description="Hold answers to the row's schema.")

        def greedy(self):
            return self

    assert check_teacher(Set())
    with pytest.raises(ConformanceError, match=f"greedy.. of teacher 'set' keeps '{option}'"):
        check_teacher(Set(**{option: value}))


def test_a_teacher_that_breaks_no_rule_passes():
    assert len(check_teacher(Wrong())) == 4
