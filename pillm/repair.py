"""A repair round: the bad answer is shown to the teacher with what is wrong about it, and the corrected one is asked for."""

from __future__ import annotations

from typing import NamedTuple

from pillm.records import Answer, Message
from pillm.validation import Fault, Validation

REPAIRABLE: frozenset[Fault] = frozenset({"not_json", "schema"})
"""What a second look mends; a cut, empty or refused answer is rather asked for anew."""
_MOST = 8000
"""Characters of the bad answer that are shown: a runaway one would fill the context."""


class _Words(NamedTuple):
    not_json: str
    schema: str
    ask: str


_ENGLISH = _Words(
    not_json="Your answer is not valid JSON: {reason}.",
    schema="Your answer does not satisfy the JSON Schema. At {path}: {reason}.",
    ask="Answer with the corrected JSON only, complete, without any other text.",
)
_FRENCH = _Words(
    not_json="Ta réponse n'est pas du JSON valide : {reason}.",
    schema="Ta réponse ne respecte pas le schéma JSON. À {path} : {reason}.",
    ask="Réponds uniquement avec le JSON corrigé, complet, sans aucun autre texte.",
)


def repairable(found: Validation) -> bool:
    """Say whether showing the error to the teacher is worth a call."""
    return found.fault in REPAIRABLE


def repair_messages(
    messages: tuple[Message, ...], answer: Answer, found: Validation, language: str | None = None
) -> tuple[Message, ...]:
    """Return the messages of a repair round: those that were sent, the bad answer, and what is wrong with it.

    The request is in French where `language` begins with "fr", else in English; the reason stays as the parser or the
    schema worded it. The answer's reasoning is not repeated.
    """
    words = _FRENCH if (language or "").casefold().startswith("fr") else _ENGLISH
    said = answer.content if len(answer.content) <= _MOST else f"{answer.content[:_MOST]}\n[...]"
    reason = _bare(found)
    what = words.schema.format(path=found.path, reason=reason) if found.path else words.not_json.format(reason=reason)
    return (*messages, {"role": "assistant", "content": said}, {"role": "user", "content": f"{what}\n{words.ask}"})


def _bare(found: Validation) -> str:
    """Return what is wrong without the words that rows are reported with, which name the place once more."""
    mark = f" at {found.path}: " if found.path else ": "
    before, sign, reason = found.reason.partition(mark)
    return (reason if sign else before).rstrip(". ")
