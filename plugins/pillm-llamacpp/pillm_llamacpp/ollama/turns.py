"""Learn from a chat template's own renderings what it puts around each turn, and say the same in Go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Render = Callable[[Sequence[dict[str, Any]]], str | None]
"""A conversation as the model's own template prints it, up to the header of the answer; None where it refuses."""

_SYSTEM, _USER, _ANSWER, _LAST = "pillmSystemMark", "pillmUserMark", "pillmAnswerMark", "pillmLastMark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What stands around the turns of a conversation."""

    start: str
    """Before the first user's turn, where no system message is given."""
    system_before: str | None
    system_after: str | None
    """Around a system message; None where the template takes none."""
    user_before: str
    asked: str
    """After a user's words, where the answer is to come: the end of the turn and the header of the answer."""
    answered: str | None
    """After a user's words, where an answer follows; None where it takes one turn only."""
    answer_after: str | None

    def go(self) -> str:
        """Return the Go template that prints the same."""
        opening = self.start
        if self.system_before is not None:
            told = f"{self.system_before}{{{{ .System }}}}{self.system_after}"
            opening = f"{{{{ if .System }}}}{told}{{{{ else }}}}{self.start}{{{{ end }}}}"
        asked = self.asked
        if self.answered is not None and self.answered != self.asked:
            asked = f"{{{{ if $last }}}}{self.asked}{{{{ else }}}}{self.answered}{{{{ end }}}}"
        user = f"{self.user_before}{{{{ .Content }}}}{asked}"
        answer = ""
        if self.answer_after is not None:
            answer = f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}{self.answer_after}'
        last = "{{ $last := eq (len (slice $.Messages $i)) 1 }}" if "$last" in asked else ""
        turns = f'{{{{ if eq .Role "user" }}}}{user}{answer}{{{{ end }}}}'
        return f"{opening}{{{{ range $i, $_ := .Messages }}}}{last}{turns}{{{{ end }}}}"

    def literals(self) -> list[str]:
        """Return every text that the Go template holds."""
        found = (
            self.start,
            self.system_before,
            self.system_after,
            self.user_before,
            self.asked,
            self.answered,
            self.answer_after,
        )
        return [text for text in found if text]


def learn(render: Render) -> Turns | None:
    """Return what a template puts around turns; None where its turns do not stand apart, so that Go could not say the same.

    What is learnt from four conversations need not hold for others: it is for the caller to prove it on his own.
    """
    user, answer, last = ({"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER},
                          {"role": "user", "content": _LAST})  # fmt: skip
    system = {"role": "system", "content": _SYSTEM}
    one = _parts(render([user]), (_USER,))
    if one is None:
        return None
    several = _parts(render([user, answer, last]), (_USER, _ANSWER, _LAST))
    told = _parts(render([system, user]), (_SYSTEM, _USER))
    before = [one[0], *([several[2]] if several else []), *([told[1]] if told else [])]
    shared = _from_a_mark(_common_end(before))
    return Turns(
        start=_without(one[0], shared),
        system_before=told[0] if told else None,
        system_after=_without(told[1], shared) if told else None,
        user_before=shared,
        asked=one[1],
        answered=several[1] if several else None,
        answer_after=_without(several[2], shared) if several else None,
    )


def _parts(text: str | None, marks: tuple[str, ...]) -> list[str] | None:
    """Return what stands around the marks, which must stand once each and in this order."""
    if text is None or any(text.count(mark) != 1 for mark in marks):
        return None
    found = []
    for mark in marks:
        before, _, text = text.partition(mark)
        if not _:
            return None
        found.append(before)
    return [*found, text]


def _common_end(texts: Sequence[str]) -> str:
    shortest = min(texts, key=len)
    ends = (shortest[at:] for at in range(len(shortest)))
    return next((end for end in ends if all(text.endswith(end) for text in texts)), "")


def _from_a_mark(text: str) -> str:
    """Return a text from where its first mark begins, so that no mark is cut in two: only for whoever reads the template."""
    places = [place for sign in "<[" if (place := text.find(sign)) >= 0]
    return text[min(places) :] if places else text


def _without(text: str, end: str) -> str:
    return text[: len(text) - len(end)]
