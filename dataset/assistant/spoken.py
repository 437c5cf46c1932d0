"""Numbers, levels, dates, times and durations as people say them, with their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

Spoken = tuple[str, dict[str, Any]]
Drawn = TypeVar("Drawn")

EN_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
EN_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
FR_UNITS = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze",
    "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
]  # fmt: skip
FR_TENS = ["", "", "vingt", "trente", "quarante", "cinquante", "soixante", "soixante", "quatre-vingt", "quatre-vingt"]
FR_DAYS = ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"]
FR_MONTHS = [
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
    "décembre",
]  # fmt: skip
EN_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip


def pick(rng: Random, options: Sequence[Drawn]) -> Drawn:
    """Draw one of the options."""
    return options[int(rng.random() * len(options))]


def words(lang: str, n: int) -> str:
    """Spell a number below two hundred."""
    if n >= 100:
        hundred = "cent" if lang == "fr" else "a hundred"
        return hundred if n == 100 else f"{hundred} {words(lang, n - 100)}"
    if n < 20:
        return (FR_UNITS if lang == "fr" else EN_UNITS)[n]
    tens, unit = divmod(n, 10)
    if lang == "en":
        return EN_TENS[tens] + (f"-{EN_UNITS[unit]}" if unit else "")
    unit += 10 if tens in (7, 9) else 0
    if unit == 0:
        return "quatre-vingts" if tens == 8 else FR_TENS[tens]
    if unit in (1, 11) and tens < 8:
        return f"{FR_TENS[tens]} et {FR_UNITS[unit]}"
    return f"{FR_TENS[tens]}-{FR_UNITS[unit]}"


def number(rng: Random, lang: str, n: int, feminine: bool = False) -> str:
    """Say a number in digits or in words."""
    if rng.random() < 0.5:
        return str(n)
    said = words(lang, n)
    if feminine and lang == "fr" and said.endswith("un"):
        return said + "e"
    return said


LEVELS: dict[tuple[str, str], list[tuple[str, int]]] = {
    ("fr", "brightness"): [
        ("au maximum", 100), ("au max", 100), ("à fond", 100), ("à moitié", 50),
        ("à la moitié", 50), ("au minimum", 1), ("au plus bas", 1), ("au plus fort", 100),
    ],
    ("en", "brightness"): [
        ("to maximum", 100), ("to max", 100), ("to full", 100), ("to half", 50),
        ("to minimum", 1), ("to the minimum", 1), ("to the lowest", 1), ("to the brightest", 100),
        ("to the max", 100), ("to the maximum", 100),
    ],
    ("fr", "volume_level"): [
        ("au maximum", 100), ("au max", 100), ("à fond", 100), ("à moitié", 50),
    ],
    ("en", "volume_level"): [
        ("to maximum", 100), ("to max", 100), ("to full", 100), ("to half", 50),
    ],
    ("fr", "position"): [
        ("à moitié", 50), ("à la moitié", 50), ("au quart", 25), ("aux trois quarts", 75),
    ],
    ("en", "position"): [
        ("halfway", 50), ("to half", 50), ("to a quarter", 25), ("to three quarters", 75),
    ],
}  # fmt: skip


def percent(rng: Random, lang: str) -> tuple[str, int]:
    """Say a percentage."""
    n = int(rng.random() * 20 + 1) * 5 if rng.random() < 0.7 else int(rng.random() * 101)
    said = number(rng, lang, n)
    signs = [" pour cent", ""] if lang == "fr" else [" percent", " per cent", ""]
    if said.isdigit():
        signs += [" %", "%"] if lang == "fr" else ["%", "%"]
    return said + pick(rng, signs), n


def level(argument: str) -> Callable[[Random, str, str], Spoken]:
    """Make the sampler of a level: "a" and "to" bring the preposition, "up" and "down" a side."""
    sides = {"up": (50, 100), "down": (0, 50)}
    named = {
        (lang, form): [entry for entry in LEVELS[lang, argument] if low <= entry[1] <= high]
        for lang in ("fr", "en")
        for form, (low, high) in {"a": (0, 100), "to": (0, 100), **sides}.items()
    }

    def sample(rng: Random, lang: str, form: str) -> Spoken:
        if form and rng.random() < 0.25:
            said, n = pick(rng, named[lang, form])
            return said, {argument: n}
        said, n = percent(rng, lang)
        if form:
            said = f"{'à' if lang == 'fr' else 'to'} {said}"
        return said, {argument: n}

    return sample


def temperature(rng: Random, lang: str, form: str) -> Spoken:
    """Say a temperature, sometimes with half a degree."""
    n = int(rng.random() * 17 + 12)
    if lang == "en" and rng.random() < 0.35:
        n = int(rng.random() * 30 + 50)
    half = rng.random() < 0.2 and n < 30
    unit = pick(rng, ("", " degrés", "°") if lang == "fr" else ("", " degrees", "°"))
    said = number(rng, lang, n)
    if half:
        point, tail = (",", " et demi") if lang == "fr" else (".", " and a half")
        said = f"{n}{point}5{unit}" if said.isdigit() else f"{said}{unit.strip('°')}{tail}"
    else:
        said += unit if said.isdigit() or unit != "°" else ""
    preposition = ("à " if lang == "fr" else "to ") if form else ""
    return preposition + said, {"temperature": n + 0.5 if half else n}


def amount(rng: Random, top: int) -> int:
    """Draw a count, more often a round one."""
    if top > 12 and rng.random() < 0.5:
        return 5 * (int(rng.random() * 11) + 1)
    return int(rng.random() * top) + 1


def part(rng: Random, lang: str, unit: str, n: int) -> str:
    """Say a count of hours, minutes or seconds."""
    names = {"hours": "heure", "minutes": "minute", "seconds": "seconde"}
    name = names[unit] if lang == "fr" else {"hours": "hour"}.get(unit, unit[:-1])
    if lang == "en" and n == 1 and rng.random() < 0.4:
        return "an hour" if unit == "hours" else f"a {name}"
    return f"{number(rng, lang, n, feminine=True)} {name}{'s' if n > 1 else ''}"


def fixed_durations(lang: str, h: int) -> list[tuple[str, dict[str, int]]]:
    """List the durations that have a name of their own."""
    if lang == "fr":
        hours = f"{words('fr', h)}{'e' if h == 1 else ''} heure{'s' if h > 1 else ''}"
        return [
            ("une demi-heure", {"minutes": 30}),
            ("un quart d'heure", {"minutes": 15}),
            ("trois quarts d'heure", {"minutes": 45}),
            (f"{hours} et demie", {"hours": h, "minutes": 30}),
            (f"{hours} et quart", {"hours": h, "minutes": 15}),
            (f"{h}h30", {"hours": h, "minutes": 30}),
            (f"{h} h 15", {"hours": h, "minutes": 15}),
        ]
    several = "an hour and a half" if h == 1 else f"{words('en', h)} and a half hours"
    return [
        ("half an hour", {"minutes": 30}),
        ("a quarter of an hour", {"minutes": 15}),
        ("three quarters of an hour", {"minutes": 45}),
        (several, {"hours": h, "minutes": 30}),
        (several, {"hours": h, "minutes": 30}),
    ]


def half_minutes(rng: Random, lang: str) -> tuple[str, dict[str, int]]:
    """Say some minutes and a half."""
    n = int(rng.random() * 9 + 2)
    said = number(rng, lang, n)
    text = f"{said} minutes et demie" if lang == "fr" else f"{said} and a half minutes"
    return text, {"minutes": n, "seconds": 30}


def long_duration(rng: Random, lang: str, seconds: bool) -> tuple[str, dict[str, int]]:
    """Say a duration that may have several units."""
    draw = rng.random()
    if draw < 0.2:
        return pick(rng, fixed_durations(lang, int(rng.random() * 4 + 1)))
    if draw < 0.26 and seconds:
        return half_minutes(rng, lang)
    kinds: list[tuple[str, ...]] = [("minutes",)] * 5 + [("hours",)] * 2 + [("hours", "minutes")] * 2
    if seconds:
        kinds += [("seconds",), ("minutes", "seconds"), ("hours", "minutes", "seconds")]
        kinds += [("seconds",), ("hours", "seconds")]
    tops = {"hours": 4 if rng.random() < 0.8 else 12, "minutes": 59, "seconds": 59}
    parts = {unit: amount(rng, tops[unit]) for unit in pick(rng, kinds)}
    said = [part(rng, lang, unit, n) for unit, n in parts.items()]
    joint = pick(rng, (" et ", " ") if lang == "fr" else (" and ", " "))
    return joint.join([" ".join(said[:-1]), said[-1]] if len(said) > 1 else said), parts


def attributive(rng: Random) -> tuple[str, dict[str, int]]:
    """Say an English duration that stands before its noun."""
    unit, top = pick(rng, (("hours", 6), ("minutes", 59), ("minutes", 59), ("seconds", 59)))
    if rng.random() < 0.1:
        return "half hour", {"minutes": 30}
    n = amount(rng, top)
    return f"{number(rng, 'en', n)}{pick(rng, (' ', '-'))}{unit[:-1]}", {unit: n}


def duration(rng: Random, lang: str, form: str) -> Spoken:
    """Say how long a timer runs."""
    if form in ("attr", "an"):
        said, parts = attributive(rng)
        article = "an " if said.startswith(("8", "11", "18", "eight", "eleven")) else "a "
        return (article if form == "an" else "") + said, parts
    said, parts = long_duration(rng, lang, seconds=True)
    return with_de(said) if form == "de" else said, parts


def start(rng: Random, lang: str, form: str) -> Spoken:
    """Say how long a running timer was set for."""
    said, parts = attributive(rng) if form == "attr" else long_duration(rng, lang, seconds=False)
    while "seconds" in parts:
        said, parts = attributive(rng)
    said = with_de(said) if form == "de" else said
    return said, {f"start_{unit}": n for unit, n in parts.items()}


def with_de(said: str) -> str:
    """Put the French preposition before a duration."""
    return f"d'{said}" if said.startswith("un") else f"de {said}"
