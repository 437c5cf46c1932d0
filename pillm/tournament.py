"""Pairwise judging: every match is played twice with the order swapped, and only what the judge says both times counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, TypeAlias

from pillm.judging import Rubric, Winner, pair_question, read_winner
from pillm.records import Answer, Prompt

Style: TypeAlias = Literal["round-robin", "knockout"]
"""Every pair, n(n-1) calls for n answers; or winners only, 2(n-1) calls in as many rounds as n can be halved."""
Ask: TypeAlias = Callable[[Sequence[Prompt]], Mapping[str, Answer]]
"""Asks a judge and returns what it said, by the id of the question; a question without a usable answer is missing."""
Match: TypeAlias = tuple[int, int]
Outcome: TypeAlias = Literal["first", "second", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Several answers to one prompt, by sample number."""

    prompt: Prompt
    answers: Mapping[int, Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """How a contest ended: each sample's score, and each match with its outcome, None without a verdict."""

    scores: Mapping[int, float] = field(default_factory=dict)
    """Round-robin: the share of judged matches that were won, a tie being half. Knockout: of rounds that were survived.

    A sample on which the judge gave no usable verdict has none.
    """
    outcomes: Mapping[Match, Outcome | None] = field(default_factory=dict)


def preference(forward: Winner | None, backward: Winner | None) -> Outcome | None:
    """Return who won a match by both its verdicts, the second given with the order swapped.

    Only a preference that survives the swap counts, all else is a tie; None where a verdict is missing.
    """
    if forward is None or backward is None:
        return None
    if (forward, backward) == ("A", "B"):
        return "first"
    return "second" if (forward, backward) == ("B", "A") else "tie"


def judge_contests(
    contests: Sequence[Contest], ask: Ask, *, rubric: Rubric | None = None, style: Style = "round-robin"
) -> list[Standings]:
    """Let a judge decide contests, a round of all of them with one call of `ask`; return the standings in their order."""
    criteria = rubric or Rubric()
    played: list[dict[Match, Outcome | None]] = [{} for _ in contests]
    while due := [(number, match) for number, one in enumerate(contests) for match in _due(one, played[number], style)]:
        sides = {key: _sides(contests[key[0]], key[1], criteria) for key in due if not _same(contests[key[0]], key[1])}
        told = ask([question for both in sides.values() for question in both]) if sides else {}
        for number, match in due:
            played[number][match] = "tie"  # as two equal answers do, without being asked
            if both := sides.get((number, match)):
                forward, backward = (read_winner(told.get(question.id)) for question in both)
                played[number][match] = preference(forward, backward)
    return [_standings(one, outcomes, style) for one, outcomes in zip(contests, played, strict=True)]


def _sides(contest: Contest, match: Match, rubric: Rubric) -> tuple[Prompt, Prompt]:
    first, second = (contest.answers[number] for number in match)
    return pair_question(contest.prompt, first, second, rubric), pair_question(contest.prompt, second, first, rubric)


def _same(contest: Contest, match: Match) -> bool:
    first, second = (contest.answers[number] for number in match)
    return (first.content.strip(), first.tool_calls) == (second.content.strip(), second.tool_calls)


def _due(contest: Contest, outcomes: Mapping[Match, Outcome | None], style: Style) -> list[Match]:
    """Return the matches that can be played now; none once the contest is over."""
    if style == "round-robin":
        return [match for match in combinations(sorted(contest.answers), 2) if match not in outcomes]
    *_, (matches, _) = _rounds(contest, outcomes)
    return [match for match in matches if match not in outcomes]


def _rounds(contest: Contest, outcomes: Mapping[Match, Outcome | None]) -> Iterator[tuple[list[Match], list[int]]]:
    """Yield each round of a knockout, its matches and who takes part, up to the first that is not played out.

    Without a winner the earlier sample goes on, as does one that has no opponent.
    """
    alive = sorted(contest.answers)
    while True:
        matches = list(zip(alive[::2], alive[1::2], strict=False))
        yield matches, alive
        if not matches or any(match not in outcomes for match in matches):
            return
        bye = alive[len(matches) * 2 :]
        alive = [second if outcomes[first, second] == "second" else first for first, second in matches] + bye


def _standings(contest: Contest, outcomes: Mapping[Match, Outcome | None], style: Style) -> Standings:
    judged = {match: outcome for match, outcome in outcomes.items() if outcome is not None}
    heard = [number for number in sorted(contest.answers) if any(number in match for match in judged)]
    if style == "round-robin":
        scores = {number: _share(number, judged) for number in heard}
    else:
        rounds = [alive for _, alive in _rounds(contest, outcomes)]
        survived = {number: sum(number in alive for alive in rounds) - 1 for number in heard}
        scores = {number: wins / max(1, len(rounds) - 1) for number, wins in survived.items()}
    return Standings(scores=scores, outcomes=outcomes)


def _share(number: int, judged: Mapping[Match, Outcome]) -> float:
    points = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}
    won = [points[outcome][match.index(number)] for match, outcome in judged.items() if number in match]
    return sum(won) / len(won)
