"""The base's lessons: reading requests and copying spans, never the assistant's own tool calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from corpus import Encoder, Row, answer_of, text_of
from loop import Encoded

Exercise = tuple[str, str]  # what is shown, and what is to be written
FRENCH = "cle valeur sujet chose mot endroit qui quoi couleur ville plat outil livre sport fleur pays metier"
ENGLISH = "key value topic thing word spot who what colour town dish gear book game plant land job left right first second"
KEYS = [*FRENCH.split(), *ENGLISH.split(), *"abcxyz"]
CONSONANTS = ["b", "d", "f", "g", "l", "m", "p", "r", "s", "t", "v", "br", "cl", "tr"]
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in "aeiou"]
FORMS: tuple[tuple[str, str], ...] = (
    ("{k}: {v}", "\n"),
    ("{k} = {v}", " ; "),
    ("{v} ({k})", ", "),
    ("<{k}>{v}</{k}>", " "),
    ("[{k}] {v}", " "),
    ("{k} -> {v}", " | "),
)
# Arguments and coarse actions under names that no answer of the assistant has.
NAMED = {
    "title": "headline", "date": "jour", "time": "heure", "to": "person", "subject": "regarding",
    "body": "message", "query": "wanted", "near": "vicinity", "text": "content", "name": "label",
    "area": "room", "floor": "storey", "domain": "family", "device_class": "sort",
    "brightness": "shine", "color": "tint", "temperature": "heat", "hours": "h", "minutes": "min",
    "seconds": "sec", "start_hours": "from_h", "start_minutes": "from_min", "item": "article",
    "position": "opening", "volume_level": "loudness",
}  # fmt: skip
COPIED = {"title", "to", "subject", "body", "query", "near", "text", "name", "area", "floor", "item"}
ACTS = {
    "create_event": "plan", "send_email": "write", "find_place": "seek", "take_note": "keep",
    "HassTurnOn": "on", "HassTurnOff": "off", "HassStartTimer": "begin", "HassCancelTimer": "stop",
    "HassListAddItem": "add", "HassShoppingListAddItem": "add",
    "HassLightSet": "adjust", "HassClimateSetTemperature": "adjust", "HassSetPosition": "adjust",
    "HassSetVolume": "adjust", "HassClimateGetTemperature": "ask", "HassGetWeather": "ask",
    "HassGetCurrentTime": "ask",
}  # fmt: skip
# The same with an act of its own for every tool, for the lessons that end the base's schooling.
FINE_ACTS = ACTS | {
    "HassShoppingListAddItem": "buy", "HassLightSet": "lamp", "HassClimateSetTemperature": "warm",
    "HassSetPosition": "move", "HassSetVolume": "loud", "HassClimateGetTemperature": "feel",
    "HassGetWeather": "sky", "HassGetCurrentTime": "clock",
}  # fmt: skip


def compact(value: Any) -> str:
    """Write compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def nonce(rng: Random) -> str:
    """Invent a word."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))


def span(rng: Random, words: list[str]) -> str:
    """Cut a few words out of a text, sometimes with an invented one among them."""
    begin = rng.randrange(len(words))
    cut = words[begin : begin + rng.randint(1, 6)]
    if rng.random() < 0.3:
        cut[rng.randrange(len(cut))] = nonce(rng)
    return " ".join(cut)


def disguise(rng: Random, row: Row, other: Row) -> Row:
    """Put other words in place of one copied value, in the request and in the answer."""
    text, call = text_of(row), json.loads(answer_of(row))
    found = call["arguments"]
    # A device's kind is read off its name: such a name stays.
    named = COPIED - {"name"} if "domain" in found else COPIED
    copied = [key for key in named & found.keys() if text.lower().count(found[key]) == 1]
    if not copied:
        return row
    key = rng.choice(sorted(copied))
    words = span(rng, text_of(other).split()).strip(".,!?")
    begin = text.lower().index(found[key])
    shown = words.upper() if text.isupper() else words
    text = text[:begin] + shown + text[begin + len(found[key]) :]
    found[key] = words.lower()
    return {"messages": [{"role": "user", "content": text}], "reference": {"content": compact(call)}}


def disguised(rng: Random, source: Iterator[Row], share: float) -> Iterator[Row]:
    """Disguise a share of the rows: where no list of names helps, only copying does."""
    other = next(source)
    for row in source:
        yield disguise(rng, row, other) if rng.random() < share else row
        other = row


def shouted(rng: Random, source: Iterator[Row]) -> Iterator[Row]:
    """Put a share of the requests in capitals; their answers stay in small letters."""
    for row in source:
        if rng.random() < SHOUTED:
            row = row | {"messages": [{"role": "user", "content": text_of(row).upper()}]}
        yield row


def echo(rng: Random, row: Row) -> Exercise:
    """Copy named spans into a JSON object, in lower case."""
    words = text_of(row).split()
    keys = rng.sample(KEYS, rng.randint(1, 3))
    if rng.random() < 0.3:
        keys[0] = nonce(rng)
    values = {key: span(rng, words) for key in keys}
    form, between = rng.choice(FORMS)
    shown = between.join(form.format(k=key, v=value) for key, value in values.items())
    return shown, compact({key: value.lower() for key, value in values.items()})


def cut_out(rng: Random, row: Row) -> Exercise:
    """Copy what stands between two marks of a text, under a given key."""
    words = text_of(row).split()
    begin = rng.randrange(len(words))
    end = min(len(words), begin + rng.randint(1, 6))
    left, right = rng.choice((("[", "]"), ("«", "»"), ("*", "*"), ("(", ")")))
    marked = " ".join([*words[:begin], left, *words[begin:end], right, *words[end:]])
    key = rng.choice(KEYS)
    return f"{key} {marked}", compact({key: " ".join(words[begin:end]).lower()})


def after(rng: Random, row: Row) -> Exercise:
    """Copy the rest of a text from a given word on."""
    words = text_of(row).split()
    begin = rng.randrange(len(words))
    key = rng.choice(KEYS)
    shown = f"{key} @ {words[begin]} @ {' '.join(words)}"
    return shown, compact({key: " ".join(words[begin:]).lower()})


def extract(rng: Random, row: Row) -> Exercise:
    """Say what a request is about under foreign names, as lines or as JSON, without any tool."""
    call = json.loads(answer_of(row))
    found = {"act": ACTS[call["name"]]} | {NAMED[key]: value for key, value in call["arguments"].items()}
    if rng.random() < 0.5:
        return f"lines? {text_of(row)}", "\n".join(f"{key} = {value}" for key, value in found.items())
    return f"object? {text_of(row)}", compact(found)


def dialect(row: Row, act: str, given: str) -> Exercise:
    """Answer a request as the assistant would, under foreign names: what is left to learn is how tools are called here."""
    call = json.loads(answer_of(row))
    found = {NAMED[key]: value for key, value in call["arguments"].items()}
    return text_of(row), compact({act: FINE_ACTS[call["name"]], given: found})


EXERCISES: tuple[tuple[float, Callable[[Random, Row], Exercise]], ...] = (
    (0.1, echo),
    (0.1, cut_out),
    (0.05, after),
    (0.75, extract),
)
DISGUISED = 0.4  # the share of rows where a value is replaced by words that belong elsewhere
PRACTICE_DISGUISED = 0.2
SHOUTED = 0.08  # the share put in capitals, beside those of the dataset: other tokens, to be known as the same words
READING = 0.1  # the share of rows that are only read


def schooling(source: Iterator[Row], encode: Encoder, seed: int) -> Iterator[Encoded]:
    """Yield the base's lessons: requests to read, and exercises made from them."""
    rng = Random(seed)  # noqa: S311
    weights = [weight for weight, _ in EXERCISES]
    for row in shouted(rng, disguised(rng, source, DISGUISED)):
        if rng.random() < READING:
            yield encode.plain(text_of(row))
            continue
        ((_, make),) = rng.choices(EXERCISES, weights)
        shown, written = make(rng, row)
        yield encode([{"role": "user", "content": shown}], written)


def answered(source: Iterator[Row], encode: Encoder, seed: int, frame: tuple[str, str]) -> Iterator[Encoded]:
    """Yield requests that are answered in the dialect, within that frame."""
    rng = Random(seed)  # noqa: S311
    for row in shouted(rng, disguised(rng, source, PRACTICE_DISGUISED)):
        shown, written = dialect(row, *frame)
        yield encode([{"role": "user", "content": shown}], written)


def practice(source: Iterator[Row], encode: Encoder, seed: int) -> Iterator[Encoded]:
    """Yield the pupil's lessons: requests, answered in a frame of its own."""
    return answered(source, encode, seed, ("act", "with"))


def rehearsal(source: Iterator[Row], encode: Encoder, seed: int) -> Iterator[Encoded]:
    """Yield the base's last lessons: the same in the frame that tool calls everywhere have."""
    return answered(source, encode, seed, ("name", "arguments"))


def mastery(source: Iterator[Row], encode: Encoder, seed: int) -> Iterator[Encoded]:
    """Yield the teacher's lessons: its task, request in, tool call out."""
    for row in shouted(Random(seed), source):  # noqa: S311
        yield encode(row["messages"], answer_of(row))
