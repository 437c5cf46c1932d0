"""From the raw answer to what may be trained on: refused with a kind, a reason and a place, or accepted and cleaned.

Nothing here raises, whatever an answer holds: it is paid for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from pillm.extraction import extract_json
from pillm.metrics import call_parts, schema_fault
from pillm.records import Answer, JSONObject, Prompt

Fault: TypeAlias = Literal["empty", "refused", "cut", "repeated", "not_json", "schema", "tool_call", "unjudged"]
"""What is wrong with an answer; "unjudged" blames the row's schema, not the answer."""
_SHOWN = 300
"""Characters of a schema's complaint, which repeats the value, that a reason keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Which checks answers go through beside the row's schema."""

    prose: bool = False
    """Take the one JSON value that other words surround."""
    refusals: bool = True
    """Refuse free text that begins as a refusal, in English or French."""
    repetitions: bool = True
    """Refuse free text that ends in a loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found: whether an answer is accepted, what it is trained as, or what is wrong and where."""

    content: str
    """The text to train on: bare JSON where the row has a schema."""
    fault: Fault | None = None
    reason: str = ""
    path: str | None = None
    """The JSON path of the schema's complaint."""

    @property
    def accepted(self) -> bool:
        """Say whether the answer may be trained on."""
        return self.fault is None


_PLAIN = Checks()


def validate(prompt: Prompt, answer: Answer, checks: Checks = _PLAIN) -> Validation:
    """Return what is wrong with an answer to a prompt, or how it is trained on."""
    text = answer.content
    if answer.finish_reason in ("content_filter", "refusal"):
        return _refused(text, "refused", "the server's content filter ended the answer")
    if answer.finish_reason == "length":
        return _refused(text, "cut", "the answer was cut at the token limit")
    if answer.tool_calls:
        if wrong := _wrong_call(prompt, answer):
            return _refused(text, "tool_call", wrong)
        if not text.strip() and (prompt.tools or prompt.schema is None):  # a call in the place of text, or of JSON
            return Validation(content=text)
    elif not text.strip():
        return _refused(text, "empty", "the answer is empty")
    if prompt.schema is not None:
        return _validate_json(prompt.schema, text, checks)
    if checks.refusals and is_refusal(text):
        return _refused(text, "refused", "the model refused")
    if checks.repetitions and (unit := repeated(text)):
        return _refused(text, "repeated", f"the answer ends in a loop: {unit[:40]!r} again and again")
    return Validation(content=text)


def cleaned(prompt: Prompt, answer: Answer, checks: Checks = _PLAIN) -> Answer:
    """Return the answer as it is trained on, the same object where nothing changes.

    JSON stands bare, as it was written; token ids and log-probabilities of a changed text are left out, the raw bytes stay.
    """
    found = validate(prompt, answer, checks)
    if not found.accepted or found.content == answer.content:
        return answer
    return replace(answer, content=found.content, token_ids=None, logprobs=None, tokenizer_hash=None)


def _refused(text: str, fault: Fault, reason: str, path: str | None = None) -> Validation:
    return Validation(content=text, fault=fault, reason=reason, path=path)


def _validate_json(schema: JSONObject, text: str, checks: Checks) -> Validation:
    try:
        found = extract_json(text, prose=checks.prose)
    except ValueError as error:
        if checks.refusals and is_refusal(text):
            return _refused(text, "refused", "the model refused")
        return _refused(text, "not_json", f"the answer is not JSON: {_short(str(error))}")
    try:
        fault = schema_fault(schema, found.value, found.text)
    except Exception as error:  # noqa: BLE001 - a row's own schema may break its reader in any way
        return _refused(text, "unjudged", f"the answer cannot be judged: {_short(str(error))}")
    if fault:
        path, why = fault
        return _refused(text, "schema", f"the answer does not satisfy the schema at {path}: {_short(why)}", path)
    return Validation(content=text if found.where == "whole" else found.text)


def _wrong_call(prompt: Prompt, answer: Answer) -> str | None:
    """Return what is wrong with the tool calls of an answer, or None."""
    offered = _offers(prompt) if prompt.tools else {}
    for call in answer.tool_calls:
        try:
            name, arguments = call_parts(call)
        except (ValueError, AttributeError, RecursionError) as error:
            return f"the arguments of a tool call are not JSON: {_short(str(error))}"
        if prompt.tools and not (isinstance(name, str) and name in offered):
            return f"it calls a tool that was not offered: {_short(repr(name))}"
        parameters = offered.get(name) if isinstance(name, str) else None
        if not isinstance(parameters, dict):
            continue
        try:
            fault = schema_fault(parameters, arguments)
        except Exception:  # noqa: BLE001, S112 - what a tool says of its parameters may be no JSON Schema
            continue
        if fault:
            return f"the arguments of a call of {name} are wrong at {fault[0]}: {_short(fault[1])}"
    return None


def _offers(prompt: Prompt) -> dict[str, Any]:
    """Return the parameters of each tool that a prompt offers, by name."""
    tools = [tool.get("function", tool) for tool in prompt.tools]
    named = [tool for tool in tools if isinstance(tool, dict) and isinstance(tool.get("name"), str)]
    return {tool["name"]: tool.get("parameters") for tool in named}


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_REFUSAL_ENGLISH = re.compile(
    r"""(?:(?:i['’]?m|i\ am)\ (?:\w+\ )?sorry|sorry|i\ apologi[sz]e|unfortunately|no)?[\s,.;:!—-]*(?:but\ )?
    (?:as\ an\ ai\b[^,.]{0,40},?\ )?
    (?:i\ (?:can['’]?t|cannot|can\ not|won['’]?t|will\ not|must\ decline\ to|have\ to\ decline\ to)
      |i(?:['’]m|\ am)\ (?:unable|not\ able|not\ allowed)\ to)\ (?:\w+ly\ )?
    (?:(?:help|assist)(?:\ you)?\ (?:with|in)\ (?:that|this|your|such|the)\b
      |(?:comply|engage)\ with\ |fulfil|do\ that\b|discuss\ (?:that|this|such)\b
      |(?:provide|generate|create|produce|write|answer|continue|support|share|give)
       (?:\ you)?(?:\ with)?\ (?:that|this|such|any|instructions|information|content|guidance|advice)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL_FRENCH = re.compile(
    r"""(?:(?:je\ suis\ |je\ me\ sens\ )?(?:\w+\ )?(?:désolée?|navrée?)|pardon|malheureusement|je\ regrette|non)?
    [\s,.;:!—-]*(?:mais\ )?(?:en\ tant\ qu['’](?:ia|intelligence|assistant|un)[^,.]{0,50},?\ )?
    je\ (?:ne\ (?:peux|puis|suis)\ (?:pas|malheureusement\ pas)(?:\ (?:en\ mesure|autorisée?|capable)\ d[e'’])?\ ?
      |refuse\ (?:de\ |d['’])|dois\ refuser\ (?:de\ |d['’])|suis\ dans\ l['’]impossibilité\ (?:de\ |d['’]))
    \s*(?:(?:vous\ |t['’]|y\ )?(?:aider|assister)\ (?:avec|à|dans|sur|pour)\ (?:cela|ça|ce|cette|votre|ta|une\ telle)
      |(?:vous\ )?(?:répondre\ à|accéder\ à|satisfaire)\ (?:cette|votre|ce|ta|une\ telle)
      |(?:faire|discuter\ de)\ (?:cela|ça)\b
      |(?:vous\ )?(?:fournir|générer|créer|produire|rédiger|donner|écrire)
       \ (?:ce|cette|ces|cela|ça|de\ tel|d['’]info|d['’]inst|de\ con)
      |continuer\ (?:cette|ce)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL_LENGTH = 800
"""A text longer than this does more than refuse."""


def is_refusal(text: str) -> bool:
    """Say whether a text begins as models refuse, in English or French; a short list, made to miss rather than to accuse."""
    start = text.strip()
    if len(start) > _REFUSAL_LENGTH:
        return False
    return bool(_REFUSAL_ENGLISH.match(start) or _REFUSAL_FRENCH.match(start))


_LOOPING, _TURNS, _TAIL = 400, 10, 24


def repeated(text: str) -> str | None:
    """Return the words that a text ends by saying at least ten times, over 400 characters or more; None where it does not."""
    text = text.rstrip()
    if len(text) < _LOOPING:
        return None
    period = len(text) - _TAIL - text.rfind(text[-_TAIL:], 0, -1)
    length = max(_LOOPING, period * _TURNS)
    if length > len(text) or text[-length:-period] != text[period - length :]:
        return None
    unit = text[-period:]
    return unit if any(letter.isalpha() for letter in unit) else None
