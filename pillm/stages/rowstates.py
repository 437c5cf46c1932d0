"""What the store says of a row: its samples, its state, which answer is chosen, and what is still to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, Self, TypeAlias

from pillm.answers import AnswerStore
from pillm.backends import Teacher
from pillm.choosing import Candidate, choose
from pillm.contract import Contract
from pillm.judging import Judge
from pillm.reasoning import shaped
from pillm.records import Answer, Failure, JSONObject, Prompt, Request, digest, request_key
from pillm.repair import repair_messages, repairable
from pillm.rows import given_example
from pillm.stages.settings import Labelling
from pillm.validation import Validation, cleaned, validate

State: TypeAlias = Literal["answered", "rejected", "failed", "pending"]
LASTING = ("refused", "invalid", "crashed")
"""Kinds of failure that asking again will not mend; such rows are asked again on demand only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A prompt on its way, as the filters leave it, with its first request."""

    number: int
    prompt: Prompt
    request: Request | None
    """None where the row arrived answered, or a filter left it out."""
    filtered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of a row's answers, or what is known of the attempt to get it."""

    request: Request
    answer: Answer | None = None
    validation: Validation = field(default_factory=lambda: Validation(content=""))
    """What is thought of the answer."""
    failure: Failure | None = None
    tried: bool = False
    """Whether it failed in an earlier run and may be asked again."""
    call: int = 0
    elsewhere: bool = False
    """Whether another folder's store holds it."""

    @property
    def accepted(self) -> bool:
        """Say whether it can be trained on."""
        return self.answer is not None and self.validation.accepted

    @property
    def reason(self) -> str:
        """Return why the answer was refused; empty where it was accepted."""
        return self.validation.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a row stands: exactly one state, and the requests that would change it."""

    state: State
    chosen: Sample | None = None
    answer: Answer | None = None
    reason: str = ""
    transient: bool = False
    """Whether a sample that failed may well be answered next time."""
    samples: tuple[Sample, ...] = ()
    open: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the stores say of rows under some settings. It only reads, so that a forecast may use it as a run does."""

    settings: Labelling
    teacher: JSONObject
    """What the teacher is: keys are made of it."""
    store: AnswerStore | None
    """None where nothing was stored yet."""
    others: Sequence[AnswerStore] = field(default=())
    """Stores of other folders whose answers serve here too."""
    fresh: dict[str, Sample] = field(default_factory=dict)
    """Samples that were stored a moment ago, by key: they need not be read back and validated again."""
    since: int = 0
    """The last call before this pass, which an earlier run began where batches of its are still open."""

    @classmethod
    def of(cls, teacher: Teacher, settings: Labelling, store: AnswerStore | None, others: Sequence[AnswerStore] = ()) -> Self:
        """Return what the stores say of rows that this teacher answers."""
        identity = teacher.identity()
        going_on = store.open_pass(digest(identity)) if store else None
        since = (store.last_call if store else 0) if going_on is None else going_on
        return cls(settings=settings, teacher=identity, store=store, others=others, since=since)

    @property
    def contract(self) -> Contract:
        """Return how rows become requests."""
        return self.settings.contract

    @property
    def knows_anything(self) -> bool:
        """Say whether any call was ever recorded."""
        return bool(self.others) or (self.store is not None and self.store.last_call > 0)

    def in_a_batch(self, request: Request) -> bool:
        """Say whether a request waits in a batch with the provider."""
        return self.knows_anything and self.store is not None and self.store.in_a_batch(request.key)

    def knows(self, request: Request) -> bool:
        """Say whether a request has an answer, or failed in this run."""
        found = self._known(request)
        return found.answer is not None or found.failure is not None

    def look(self, row: Row) -> Standing:
        """Return where a row stands by what is stored."""
        if row.filtered:
            return Standing(state="rejected", reason="left out by a filter")
        if row.request is None:
            return Standing(state="answered", answer=given_example(row.prompt).answer)
        samples = tuple(self._samples(row.prompt, row.request))
        accepted = [one for one in samples if one.accepted]
        failed = [one for one in samples if one.failure]
        wanting = [one for one in samples if one.answer is None and not one.failure]
        transient = any(one.failure.kind not in LASTING for one in failed if one.failure)
        known = Standing(state="pending", samples=samples, transient=transient)
        if wanting:
            return replace(known, open=tuple(one.request for one in wanting if self._wanted(one)))
        if accepted:
            chosen = self._chosen(row.prompt, accepted)
            answer = shaped(self._trained(row.prompt, chosen), self.settings.reasoning)
            return replace(known, state="answered", chosen=chosen, answer=answer)
        if failed and failed[-1].failure:
            failure = failed[-1].failure
            return replace(known, state="failed", reason=f"{failure.kind}: {failure.message}")
        return replace(known, state="rejected", answer=samples[-1].answer, reason=samples[-1].reason)

    def _samples(self, prompt: Prompt, first: Request) -> Iterator[Sample]:
        """Yield a row's samples: as many as are wanted, one more for each that was refused while attempts are left.

        What was bought beyond that, by a run with other settings, stays as long as nothing before it was accepted.
        """
        wanted, accepted, refused = self.settings.samples, 0, 0
        bought_before = True
        for number in count():
            within = number < min(wanted + refused, wanted * self.settings.attempts)
            if not within and (accepted >= wanted or not self.knows_anything):
                return
            request = first if number == 0 else self.contract.request(prompt, self.teacher, number)
            sample = self._sample(request)
            again = "rejected" in self.settings.retry and not accepted and bought_before
            if not within and sample.answer is None and not again:
                return
            yield sample
            if sample.answer is None and number >= wanted * self.settings.attempts:
                return
            accepted += sample.accepted
            refused += sample.answer is not None and not sample.accepted
            bought_before = sample.answer is not None and self._is_old(sample.call)

    def _sample(self, request: Request) -> Sample:
        """Return what is known of a sample, the last of its repairs where there were any."""
        sample = self._known(request)
        for _ in range(self.settings.repair):
            if sample.answer is None or sample.accepted or not repairable(sample.validation):
                break
            again = self._known(self.repair_of(sample))
            if again.failure and again.failure.kind in LASTING:
                break
            sample = again
        return sample

    def repair_of(self, sample: Sample) -> Request:
        """Return the request that shows a refused answer to the teacher, with what is wrong about it."""
        asked, prompt = sample.request, sample.request.prompt
        messages = repair_messages(asked.messages, sample.answer or Answer(""), sample.validation, prompt.language)
        key = request_key(self.teacher, messages, prompt, asked.sample)
        return Request(key=key, prompt=prompt, messages=messages, sample=asked.sample)

    def _known(self, request: Request) -> Sample:
        if request.key in self.fresh:
            return self.fresh[request.key]
        found = next(((one, *kept) for one in self._stores() if (kept := one.answer_of(request.key))), None)
        if found:
            store, answer, call = found
            elsewhere = store is not self.store
            return Sample(
                request=request,
                answer=answer,
                validation=validate(request.prompt, answer, self.settings.checks),
                call=0 if elsewhere else call,
                elsewhere=elsewhere,
            )
        failed = self.store.failure_of(request.key) if self.store else None
        if failed is None:
            return Sample(request=request)
        failure, call = failed
        if self.in_a_batch(request):  # it was asked again, and will be heard of
            return Sample(request=request, tried=True, call=call)
        lasting = failure.kind in LASTING and "failed" not in self.settings.retry
        return Sample(request=request, failure=None if self._is_old(call) and not lasting else failure, tried=True, call=call)

    def _trained(self, prompt: Prompt, sample: Sample) -> Answer:
        answer = sample.answer or Answer("")
        return answer if sample.validation.content == answer.content else cleaned(prompt, answer, self.settings.checks)

    def _chosen(self, prompt: Prompt, accepted: Sequence[Sample]) -> Sample:
        if len(accepted) == 1:
            return accepted[0]
        candidates = [
            Candidate(number=number, answer=one.answer or Answer(""), score=self._score(one))
            for number, one in enumerate(accepted)
        ]
        return accepted[choose(candidates, self.settings.choose, as_json=prompt.schema is not None).number or 0]

    def _score(self, sample: Sample) -> float | None:
        """Return what the judge gave an answer; None where nobody judges, or the judge had nothing to say."""
        if self.settings.judge is None or self.store is None:
            return None
        verdict = self.store.verdict(sample.request.key, judge_name(self.settings.judge))
        return verdict.score if verdict else None

    def _stores(self) -> Iterator[AnswerStore]:
        if self.store:
            yield self.store
        yield from self.others

    def _is_old(self, call: int) -> bool:
        """Say whether a call was made before this run, and in no batch of this pass."""
        if self.store is None:
            return True
        if call > self.store.last_call:
            return False
        made_in = self.store.pass_of(call)
        return made_in is None or made_in < self.since

    def _wanted(self, sample: Sample) -> bool:
        if not self.settings.only:
            return True
        why = "failed" if sample.tried else "rejected" if sample.request.sample >= self.settings.samples else "pending"
        return why in self.settings.only


def judge_name(judge: Judge) -> str:
    """Return the name that a judge's verdicts are stored under: another rubric or model is another judge."""
    return f"judge:{digest(judge.identity())[:16]}"
