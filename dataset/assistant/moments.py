"""Dates and times of day as people say them, with their values."""

from __future__ import annotations

from random import Random

from spoken import EN_MONTHS, FR_DAYS, FR_MONTHS, Spoken, number, pick, words
from tools import MONTH_DAYS, WEEKDAYS

NEAR = {
    "fr": [("aujourd'hui", "today"), ("demain", "tomorrow"), ("après-demain", "after_tomorrow")],
    "en": [
        ("today", "today"),
        ("tomorrow", "tomorrow"),
        ("the day after tomorrow", "after_tomorrow"),
    ],
}
EVENINGS = {
    "fr": [("ce soir", "today"), ("demain soir", "tomorrow")],
    "en": [("tonight", "today"), ("this evening", "today"), ("tomorrow night", "tomorrow")],
}
MORNINGS = {
    "fr": [("demain matin", "tomorrow"), ("ce matin", "today")],
    "en": [("tomorrow morning", "tomorrow"), ("this morning", "today")],
}
# With neither am nor pm around, "at three" is fifteen hundred and "at six" is six.
AFTERNOON = 5
ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def weekday(rng: Random, lang: str) -> tuple[str, str]:
    """Say a day of the week."""
    i = int(rng.random() * 7)
    if lang == "fr":
        return pick(rng, ("{}", "{}", "{} prochain", "ce {}")).format(FR_DAYS[i]), WEEKDAYS[i]
    day = WEEKDAYS[i].capitalize()
    return pick(rng, ("on {}", "{}", "next {}", "this {}")).format(day), WEEKDAYS[i]


def calendar_day(rng: Random, lang: str) -> tuple[str, str]:
    """Say a day of the year."""
    month = int(rng.random() * 12)
    day = int(rng.random() * MONTH_DAYS[month]) + 1
    value = f"{month + 1:02}-{day:02}"
    if lang == "fr":
        said = pick(rng, ("1er", "premier")) if day == 1 else number(rng, "fr", day)
        return f"le {said} {FR_MONTHS[month]}", value
    ordinal = f"{day}{ORDINALS.get(day, 'th')}"
    frames = ("on {m} {o}", "on {m} {d}", "on the {o} of {m}", "{m} {o}", "{m} {d}")
    return pick(rng, frames).format(m=EN_MONTHS[month], o=ordinal, d=day), value


def day(rng: Random, lang: str) -> tuple[str, str]:
    """Say a date."""
    draw = rng.random()
    if draw < 0.3:
        return pick(rng, NEAR[lang])
    return weekday(rng, lang) if draw < 0.75 else calendar_day(rng, lang)


def french_clock(rng: Random, hour: int, minute: int) -> str:
    """Say a time of the 24-hour clock in French."""
    digits = rng.random() < 0.6
    said = str(hour) if digits else words("fr", hour) + ("e" if hour in (1, 21) else "")
    unit = "heure" if hour == 1 else "heures"
    if digits and minute:
        return said + pick(rng, (f"h{minute:02}", f" h {minute:02}", f":{minute:02}"))
    if digits:
        return said + pick(rng, (" h", "h", f" {unit}"))
    name = {0: "", 15: " et quart", 30: " et demie"}.get(minute, f" {words('fr', minute)}")
    return f"{said} {unit}{name}"


def english_clock(rng: Random, hour: int, minute: int, bare: bool = False) -> str:
    """Say a time of the 12-hour clock in English, without am or pm."""
    digits = rng.random() < 0.6
    said = str(hour) if digits else words("en", hour)
    if minute == 0:
        return said if bare else pick(rng, (said, said, f"{said} o'clock"))
    if digits:
        return f"{said}:{minute:02}"
    if bare:
        return f"{said} {words('en', minute)}"
    after = words("en", hour % 12 + 1)
    named = {15: f"quarter past {said}", 30: f"half past {said}", 45: f"quarter to {after}"}
    return pick(rng, (named[minute], f"{said} {words('en', minute)}"))


def clock(rng: Random, lang: str, half: str) -> tuple[str, str]:
    """Say a time; half is "am", "pm" or "" when nothing around tells which."""
    minute = pick(rng, (0, 0, 0, 15, 30, 30, 45))
    if lang == "en" and not half and rng.random() < 0.1:
        hour = int(rng.random() * 9) + 13
        return f"{hour}:{minute:02}", f"{hour}:{minute:02}"
    spoken_24 = lang == "fr" and half != "am" and rng.random() < 0.5
    low, high = (17 if half else 13, 22) if spoken_24 else {"am": (6, 11), "pm": (5, 10), "": (1, 11)}[half]
    hour = low + int(rng.random() * (high - low + 1))
    if lang == "en" and half == "" and hour == 5 and minute == 45:
        minute = 30  # "quarter to six" could be heard as a quarter before 06:00
    say = french_clock(rng, hour, minute) if lang == "fr" else english_clock(rng, hour, minute)
    if hour <= 11 and (half == "pm" or (half == "" and hour <= AFTERNOON)):
        hour += 12
    return say, f"{hour:02}:{minute:02}"


def afternoon(rng: Random, lang: str) -> tuple[str, str]:
    """Say a time that names its own half of the day."""
    minute = pick(rng, (0, 0, 30, 15))
    if lang == "fr":
        tail, low, high, add = pick(
            rng,
            (
                ("du matin", 6, 11, 0),
                ("de l'après-midi", 1, 5, 12),
                ("du soir", 6, 10, 12),
            ),
        )
        hour = low + int(rng.random() * (high - low + 1))
        return f"{french_clock(rng, hour, minute)} {tail}", f"{hour + add:02}:{minute:02}"
    tails = (
        ("am", 6, 11, 0), ("a.m.", 6, 11, 0), ("in the morning", 6, 11, 0), ("pm", 1, 11, 12),
        ("pm", 1, 11, 12), ("p.m.", 1, 11, 12), ("in the afternoon", 1, 5, 12),
        ("in the evening", 6, 10, 12),
    )  # fmt: skip
    tail, low, high, add = pick(rng, tails)
    hour = low + int(rng.random() * (high - low + 1))
    return f"{english_clock(rng, hour, minute, True)} {tail}", f"{hour + add:02}:{minute:02}"


def time(rng: Random, lang: str, form: str) -> Spoken:
    """Say a time, with its preposition unless the form is "bare"."""
    draw = rng.random()
    if draw < 0.1:
        noon, midnight = ("midi", "minuit") if lang == "fr" else ("noon", "midnight")
        said, value = pick(rng, [(noon, "12:00")] * 5 + [(midnight, "00:00")])
    elif draw < 0.5 or (form == "bare" and lang == "en"):
        said, value = afternoon(rng, lang)
    else:
        said, value = clock(rng, lang, "")
    preposition = "" if form == "bare" else ("à " if lang == "fr" else "at ")
    return preposition + said, {"time": value}


def date(rng: Random, lang: str, form: str) -> Spoken:
    """Say a date."""
    said, value = pick(rng, EVENINGS[lang]) if rng.random() < 0.1 else day(rng, lang)
    return said, {"date": value}


def when(rng: Random, lang: str, form: str) -> Spoken:
    """Say a date and a time together."""
    at = "" if form == "bare" else ("à " if lang == "fr" else "at ")
    draw = rng.random()
    if draw < 0.3 and (at or lang == "fr"):
        evening = draw < 0.18
        said, value = pick(rng, (EVENINGS if evening else MORNINGS)[lang])
        hour, clock_value = clock(rng, lang, "pm" if evening else "am")
        return f"{said} {at}{hour}", {"date": value, "time": clock_value}
    said, value = day(rng, lang)
    hour, found = time(rng, lang, form)
    first, second = (hour, said) if at and rng.random() < 0.15 else (said, hour)
    return f"{first} {second}", {"date": value, **found}
