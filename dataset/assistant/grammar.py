"""Written frames with slots, compiled once and drawn from many times."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import moments
import spoken
from spoken import Spoken, pick

# A span is a text and where it goes: None is free wording, "" carries a value that is not
# copied, anything else names the argument the text is copied into.
Span = tuple[str, str | None]
Sampler = Callable[[Random, list[Span], dict[str, Any]], None]
Node = str | Sampler | list[list[Any]]

# Free text is now and then spoken in the other language; the value under this key says so.
BORROWED = frozenset({"body", "claim", "note", "fact", "todo", "scene", "script"})
BORROWING = 0.1
SWITCHED = " switched"

COMPUTED: dict[str, Callable[[Random, str, str], Spoken]] = {
    "brightness": spoken.level("brightness"),
    "volume": spoken.level("volume_level"),
    "position": spoken.level("position"),
    "temperature": spoken.temperature,
    "duration": spoken.duration,
    "start": spoken.start,
    "date": moments.date,
    "when": moments.when,
}
TOKEN = re.compile(r"[()|]|\{[^}]*\}|[^()|{}]+")
MACRO = re.compile(r"<(\w+)>")
DETERMINER = {
    "fr": re.compile(
        r"(?:(?:(?:sur |dans )(?:le|la|l')|du|au|aux|d'en|d'|à la|à l'|de la|de l'|des|en|le|la|l'|les|un|une|mon|ma|mes|notre"
        r"|nos)(?:(?<=')| ))",
        re.I,
    ),
    "en": re.compile(r"(?:(?:in|on|at) )?(?:(?:the|my|our|a|an|some) )", re.I),
}
FRENCH_FORMS = {
    "le": {"de": "du ", "a": "au ", "poss": "mon ", "ind": "un "},
    "la": {"de": "de la ", "a": "à la ", "poss": "ma ", "ind": "une "},
    "l'": {"de": "de l'", "a": "à l'", "poss": "mon ", "ind": "un "},
    "les": {"de": "des ", "a": "aux ", "poss": "mes ", "ind": "des "},
    "un": {"def": "le ", "de": "du ", "a": "au ", "poss": "mon "},
    "une": {"def": "la ", "de": "de la ", "a": "à la ", "poss": "ma "},
}
# An h is silent in these words only, and a y before a vowel is no vowel: "de yogourt".
VOWEL = re.compile(r"[aeiouàâéèêëîïôûœ]|y(?![aeiou])|h(?:uil|umid|orlog|[oô]pital|[oô]tel|uguette|abi)", re.I)


@lru_cache(maxsize=1 << 15)
def split(lang: str, text: str) -> tuple[str, str]:
    """Separate a leading determiner from what it determines."""
    found = DETERMINER[lang].match(text)
    return (text[: found.end()], text[found.end() :]) if found else ("", text)


def french(determiner: str, head: str, form: str) -> str:
    """Return the words that a French form puts before a head."""
    article = determiner.strip().lower()
    vowel = bool(VOWEL.match(head))
    if article in ("un", "une") and vowel and form in ("def", "de", "a"):
        return {"def": "l'", "de": "de l'", "a": "à l'"}[form]
    if article == "une" and vowel and form == "poss":
        return "mon "
    if form == "in":
        return f"dans {determiner}"
    known = FRENCH_FORMS.get(article)
    if known:
        return known.get(form, determiner)
    before = {"de": "d'" if vowel and not determiner else "de ", "a": "à "}
    return before.get(form, "") + determiner


def english(determiner: str, head: str, form: str) -> str:
    """Return the words that an English form puts before a head."""
    proper = not determiner and head[:1].isupper()
    article = determiner.strip().lower()
    if form in ("def", "in"):
        bare = determiner if proper or article in ("my", "our") else "the "
        return ("in " if form == "in" else "") + bare
    if form == "poss":
        return determiner if proper else "my "
    if form == "ind":
        return "an " if VOWEL.match(head) else "a "
    return determiner


@lru_cache(maxsize=1 << 15)
def inflect(lang: str, text: str, form: str) -> tuple[str, str]:
    """Return what stands before a slot's value in a form, and the value."""
    if form == "raw":
        return "", text
    if form == "que":
        return ("qu'" if VOWEL.match(text) else "que "), text
    determiner, head = split(lang, text)
    if form == "bare":
        return "", head
    if form == "of":
        return ("d'" if VOWEL.match(head) else "de "), head
    if form in ("", "asis"):
        return determiner, head
    return (french if lang == "fr" else english)(determiner, head, form), head


def expand(nodes: list[Any], rng: Random, spans: list[Span], values: dict[str, Any]) -> None:
    """Draw one wording of a compiled frame into spans and values."""
    for node in nodes:
        if isinstance(node, str):
            spans.append((node, None))
        elif isinstance(node, list):
            expand(node[int(rng.random() * len(node))], rng, spans, values)
        else:
            node(rng, spans, values)


def constant(argument: str, value: str) -> Sampler:
    """Make the sampler of a value that the wording implies without saying it."""

    def sample(rng: Random, spans: list[Span], values: dict[str, Any]) -> None:
        values[argument] = value

    return sample


class Lexicon:
    """The slots of one language, ready to be drawn from."""

    def __init__(self, lang: str, material: dict[str, Any], arguments: dict[str, str]) -> None:
        self.lang = lang
        self.material = material
        self.arguments = arguments
        self.other: Lexicon | None = None
        self.compiled: dict[str, list[Any]] = {}

    def compile(self, frame: str) -> list[Any]:
        """Compile a frame: (a|b) chooses, {slot:form} draws, {=slot:value} sets, <name> includes."""
        tokens = TOKEN.findall(MACRO.sub(self._macro, frame))
        nodes = self._sequence(tokens)
        if tokens:
            raise ValueError(f"unbalanced parentheses: {frame}")
        return nodes

    def _macro(self, found: re.Match[str]) -> str:
        return MACRO.sub(self._macro, str(self.material["macros"][found.group(1)]))

    def _sequence(self, tokens: list[str]) -> list[Any]:
        nodes: list[Any] = []
        while tokens and tokens[0] not in "|)":
            piece = tokens.pop(0)
            if piece == "(":
                options = [self._sequence(tokens)]
                while tokens and tokens[0] == "|":
                    tokens.pop(0)
                    options.append(self._sequence(tokens))
                if not tokens or tokens.pop(0) != ")":
                    raise ValueError("a parenthesis is not closed")
                nodes.append(options)
            else:
                nodes.append(self._slot(piece[1:-1]) if piece[0] == "{" else piece)
        return nodes

    def _slot(self, reference: str) -> Sampler:
        name, _, form = reference.partition(":")
        if name.startswith("="):
            return constant(name[1:], form)
        if name in COMPUTED:
            return self._computed(name, form)
        if name not in self.material:
            raise ValueError(f"no {self.lang} slot {name}")
        if isinstance(self.material[name][0], dict) and "say" in self.material[name][0]:
            return self._canonical(name, form)
        return self._copied(name, form)

    def _computed(self, name: str, form: str) -> Sampler:
        say, lang = COMPUTED[name], self.lang

        def sample(rng: Random, spans: list[Span], values: dict[str, Any]) -> None:
            text, found = say(rng, lang, form)
            spans.append((text, ""))
            values.update(found)

        return sample

    def _canonical(self, name: str, form: str) -> Sampler:
        options = [(say, entry["set"]) for entry in self.material[name] for say in entry["say"]]
        lang = self.lang

        def sample(rng: Random, spans: list[Span], values: dict[str, Any]) -> None:
            text, found = pick(rng, options)
            before, head = inflect(lang, text, form)
            spans.append((before, None))
            spans.append((head, ""))
            values.update(found)

        return sample

    def _copied(self, name: str, form: str) -> Sampler:
        argument = self.arguments.get(name, name)
        lang = self.lang
        borrows = name in BORROWED and form in ("raw", "que")

        def sample(rng: Random, spans: list[Span], values: dict[str, Any]) -> None:
            source = self
            if borrows and self.other and rng.random() < BORROWING:
                source = self.other
                values[SWITCHED] = True
            text, ready = source.draw(name, form, rng)
            before, head = split(lang, text) if ready else inflect(lang, text, form)
            if before:
                spans.append((before, None))
            spans.append((head, argument))

        return sample

    def entries(self, name: str) -> list[Any]:
        """Return a slot's compiled entries, each with its written forms."""
        if name not in self.compiled:
            self.compiled[name] = []
            for entry in self.material[name]:
                forms = entry if isinstance(entry, dict) else {"np": entry}
                nodes = {form: self.compile(frame) for form, frame in forms.items()}
                self.compiled[name].append(nodes)
        return self.compiled[name]

    def draw(self, name: str, form: str, rng: Random) -> tuple[str, bool]:
        """Draw a slot's text, and say whether it is already in the form."""
        entry = pick(rng, self.entries(name))
        ready = form in entry
        spans: list[Span] = []
        expand(entry[form if ready else "np"], rng, spans, {})
        return "".join(text for text, _ in spans), ready
