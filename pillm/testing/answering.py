"""Ask what answers, teachers and runners, and hold it to the protocol."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import GeneratorType

from pillm.artifacts import Benchmark, BenchPlan, Checkpoint, ModelFile
from pillm.backends import Runner, Session, Teacher
from pillm.capabilities import CAPABILITIES, OPTIONS
from pillm.contract import Contract
from pillm.errors import ConfigError
from pillm.records import Answer, Failure, JSONObject, Prompt, Request, Usage
from pillm.testing.declarations import ConformanceError, check_ready, require
from pillm.testing.samples import sample_examples

ODD: JSONObject = {"enum": ["a"], "not": {"type": "object"}}
"""A schema that many grammars cannot express, and whose answer is short."""
MOST_AHEAD = 512
"""A teacher that pulled this many requests before its first result pulls without end."""


def _requests(prompts: Iterable[Prompt], identity: dict[str, object]) -> list[Request]:
    return [Contract().request(prompt, identity) for prompt in prompts]


def check_teacher(teacher: Teacher, prompts: Sequence[Prompt] | None = None) -> list[Answer | Failure]:
    """Ask a teacher a few questions and check that it keeps the protocol; return what it said, in order.

    A cloud teacher is asked for real: give it a server of `FakeOpenAIServer`'s kind. Raises ConformanceError.
    """
    check_ready(teacher)
    where = f"teacher {teacher.name!r}"
    asked = [example.prompt for example in sample_examples()] if prompts is None else list(prompts)
    requests = _requests(asked, teacher.identity())
    with teacher.open() as opened:
        require(isinstance(opened, Teacher), f"open() of {where} must give the teacher, not {opened!r}.")
        said = _answers(opened, requests, where)
        _answers(opened, requests[:1], f"{where}, asked a second time while open,")
        require(not list(opened.answer(iter(()))), f"{where} answered although nothing was asked.")
        _check_pulling(opened, requests[0], where)
        usage = opened.estimate(requests[0])
    counts = (usage.prompt_tokens, usage.completion_tokens) if isinstance(usage, Usage) else ()
    require(usage is None or (counts and min(counts) >= 0), f"estimate() of {where} must be a Usage or None, not {usage!r}.")
    greedy = teacher.greedy()
    require(type(greedy) is type(teacher), f"greedy() of {where} must be a {type(teacher).__name__}, not {greedy!r}.")
    for option in ("temperature", "constrain"):
        require(not getattr(greedy, option, None), f"greedy() of {where} keeps {option!r}; evaluations do without.")
    return said


def _answers(answering: Teacher | Session, requests: list[Request], where: str) -> list[Answer | Failure]:
    """Ask and check: each request once, on this thread, answers or failures and nothing else."""
    here, threads = threading.get_ident(), set()

    def pulled() -> Iterator[Request]:
        for request in requests:
            threads.add(threading.get_ident())
            yield request

    said: dict[str, Answer | Failure] = {}
    for pair in answering.answer(pulled()):
        require(isinstance(pair, tuple) and len(pair) == 2, f"{where} must yield (request, answer) pairs, not {pair!r}.")
        request, result = pair
        require(any(request is known for known in requests), f"{where} must yield the requests it was given, not {request!r}.")
        require(request.key not in said, f"{where} answered request {request.prompt.id!r} twice.")
        require(isinstance(result, Answer | Failure), f"{where} must yield an Answer or a Failure, not {result!r}.")
        _check_answer(result, where)
        said[request.key] = result
    missing = [request.prompt.id for request in requests if request.key not in said]
    require(not missing, f"{where} never answered {', '.join(missing)}; yield a Failure where there is no answer.")
    require(threads <= {here}, f"{where} pulled requests on another thread than its caller's.")
    return [said[request.key] for request in requests]


def _check_answer(result: Answer | Failure, where: str) -> None:
    if isinstance(result, Failure):
        require(result.message, f"{where} gave a Failure without a sentence.")
        return
    require(isinstance(result.content, str), f"{where} gave an Answer whose content is {result.content!r}, not text.")
    if result.logprobs is not None:
        require(result.token_ids is not None, f"{where} gave log-probabilities without token ids.")
        require(
            len(result.logprobs) == len(result.token_ids or ()), f"{where} gave log-probabilities for another number of tokens."
        )
        values = [value for alternatives in result.logprobs for _, value in alternatives]
        require(all(value <= 1e-6 for value in values), f"{where} gave log-probabilities above 0.")


def _check_pulling(teacher: Teacher, request: Request, where: str) -> None:
    """Offer questions without end, take one answer and close: the rest must stay unasked."""
    pulled = 0

    def endless() -> Iterator[Request]:
        nonlocal pulled
        while pulled < MOST_AHEAD:
            pulled += 1
            yield Request(key=f"{request.key}-{pulled}", prompt=request.prompt, messages=request.messages, sample=pulled)
        raise ConformanceError(f"{where} pulled {MOST_AHEAD} requests before its first result; pull a bounded number ahead.")

    answers = teacher.answer(endless())
    next(answers)
    if isinstance(answers, GeneratorType):
        answers.close()


def kind_of_model(model: ModelFile | Checkpoint) -> str:
    """Return "checkpoint" for a folder, else the suffix of the file."""
    return "checkpoint" if isinstance(model, Checkpoint) else model.path.suffix.lstrip(".").lower()


def check_runner(
    runner: Runner, model: ModelFile | Checkpoint, prompts: Sequence[Prompt] | None = None
) -> list[Answer | Failure]:
    """Open a model, ask it twice, time it and close it; return its answers. Raises ConformanceError.

    A runner that does not answer is only timed, and the answers are none.
    """
    check_ready(runner)
    where = f"runner {runner.name!r}"
    kind = kind_of_model(model)
    require(kind in runner.reads, f"{where} reads {', '.join(sorted(runner.reads))}, not {kind}.")
    asked = [example.prompt for example in sample_examples()] if prompts is None else list(prompts)
    requests = _requests(asked, runner.identity())
    runner.check_prompts(asked)
    _check_refusing(runner, model, where)
    with runner.open(model) as session:
        require(isinstance(session, Session), f"open() of {where} must give a Session, not {session!r}.")
        _check_capabilities(runner, session, where)
        said = _answers(session, requests, where) if "answer" in runner.capabilities else []
        again = _answers(session, requests, where) if "answer" in runner.capabilities else []
        same = [_content(one) == _content(other) for one, other in zip(said, again, strict=True)]
        require(all(same), f"{where} answered differently when asked again; evaluations are greedy.")
        _check_embeddings(session, where)
        _check_bench(session, where)
        session.close()  # twice is harmless
    return said


def _check_capabilities(runner: Runner, session: Session, where: str) -> None:
    """Hold what a runner says that it can do against its options and its session."""
    able = runner.capabilities
    unknown = sorted(able - CAPABILITIES.keys())
    require(not unknown, f"{where} says that it can {', '.join(unknown)}; known: {', '.join(CAPABILITIES)}.")
    require(able & {"answer", "bench", "embed"}, f"{where} says that it can neither answer, embed nor bench.")
    for name in ("bench", "embed"):
        there = getattr(type(session), name) is not getattr(Session, name)
        require(there or name not in able, f"{where} says that it can {name}, and its session has no {name}().")
        require(not there or name in able, f"the session of {where} has {name}(); add {name!r} to the runner's capabilities.")
    for name, option in OPTIONS.items():
        there = option in type(runner).model_fields
        require(there or name not in able, f"{where} says that it can {name!r}, and it has no option {option!r}.")


def _check_refusing(runner: Runner, model: ModelFile | Checkpoint, where: str) -> None:
    """Give a runner that holds answers to schemas an odd one: what it cannot hold it must refuse before it is asked."""
    if not runner.capabilities >= {"answer", "grammar"}:
        return
    held = runner.model_copy(update={OPTIONS["grammar"]: True})
    prompt = Prompt(id="odd", messages=({"role": "user", "content": "Say a."},), schema=ODD)
    try:
        held.check_prompts([prompt])
    except ConfigError:
        return
    try:
        with held.open(model) as session:
            result = _answers(session, _requests([prompt], held.identity()), where)[0]
            fault = result.message if isinstance(result, Failure) else ""
    except ConfigError as error:
        fault = str(error)
    late = f"{where} failed at a schema that its check_prompts() let pass ({fault}). Refuse it there: a run asks in time."
    require(not fault, late)


def _check_embeddings(session: Session, where: str) -> None:
    """Embed a few texts: as many vectors as texts, finite, of one width, and the same text alike."""
    if type(session).embed is Session.embed:
        return
    vectors = list(session.embed(iter(["one", "another text", "one"])))
    require(len(vectors) == 3, f"embed() of {where} gave {len(vectors)} vectors for 3 texts.")
    require(len({len(one) for one in vectors}) == 1 and vectors[0], f"embed() of {where} gave vectors of different widths.")
    finite = all(math.isfinite(number) for vector in vectors for number in vector)
    require(finite, f"embed() of {where} gave numbers that are not finite.")
    near = all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in zip(vectors[0], vectors[2], strict=True))
    require(near, f"embed() of {where} gave one text two embeddings.")


def _content(result: Answer | Failure) -> str:
    return result.content if isinstance(result, Answer) else result.kind


def _check_bench(session: Session, where: str) -> None:
    if type(session).bench is Session.bench:  # this runner does not time
        return
    benchmark = session.bench(BenchPlan(pp=8, tg=4, repetitions=1))
    require(isinstance(benchmark, Benchmark), f"bench() of {where} must give a Benchmark, not {benchmark!r}.")
    speeds = (benchmark.pp_tps, benchmark.tg_tps)
    require(
        all(speed > 0 and math.isfinite(speed) for speed in speeds), f"bench() of {where} gave impossible speeds: {speeds}."
    )
    require(benchmark.device, f"bench() of {where} does not name the device.")
    require((benchmark.pp, benchmark.tg) == (8, 4), f"bench() of {where} timed another number of tokens than was asked.")
