"""Expand seeds: ask a teacher for more prompts like these, and keep those that say something new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pillm.backends import Teacher
from pillm.errors import BackendError, ConfigError, DataError
from pillm.extraction import extract_json
from pillm.files import named, replacing
from pillm.jsonl import write_rows
from pillm.likeness import Likenesses
from pillm.progress import Progress
from pillm.records import Example, JSONObject, Prompt, digest
from pillm.stages.labelling import Labelling, label
from pillm.tasks import native_row
from pillm.templates import Template

PROMPTS, ASKED = "prompts.jsonl", "label"
MAX_CHARACTERS = 20_000
FRENCH = """\
Voici une demande que quelqu'un a faite :

{{ seed }}

Écris {{ n }} autres demandes du même genre, telles que d'autres personnes les feraient. Chacune demande le même genre de chose
avec d'autres détails et d'autres mots, se comprend seule et est en français\
{% if language != "fr" %} ({{ language }}){% endif %}.
Réponds seulement par du JSON de la forme {"prompts": ["...", "..."]}, avec {{ n }} textes.
"""
ENGLISH = """\
Here is a request that somebody made:

{{ seed }}

Write {{ n }} other requests of the same kind, as other people would make them. Each asks for the same kind of thing with other
details and in other words, can be understood alone, and is in the language of the request above\
{% if language %} ({{ language }}){% endif %}.
Answer only with JSON of the form {"prompts": ["...", "..."]}, with {{ n }} texts.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """How to expand: how many prompts per seed, when two are alike, what the teacher is told, how it is asked."""

    n: int = 5
    alike: float = 0.7
    """Share of common word runs (Jaccard) from which on a text is a near duplicate; 1: only equal ones are left out."""
    template: str | None = None
    """A Jinja template of the request over `seed`, `n`, `language` and `system`; None: one in French or English."""
    with_seeds: bool = False
    """Write the seeds before the new prompts."""
    labelling: Labelling = field(default_factory=Labelling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """The new prompts on disk, and where every text of the teacher went: texts = new + equal + near + empty + surplus."""

    path: Path
    seeds: int
    unanswered: int
    """Seeds for which the teacher gave no answer that could be used."""
    transient: int
    """Those of them that the same command asks for again, and may well get answered."""
    texts: int
    new: int
    left_out: dict[str, int]
    """`equal`, `near`: said already; `empty`; `surplus`: more than were asked for, or far too long."""

    @property
    def balanced(self) -> bool:
        """Say whether every text is accounted for."""
        return self.texts == self.new + sum(self.left_out.values())


def expand(
    seeds: Sequence[Prompt], teacher: Teacher, out: Path | str, *, settings: Expansion | None = None,
    progress: Progress | None = None,
) -> Expanded:  # fmt: skip
    """Ask a teacher for prompts like the seeds, and write those that are new into `out`/prompts.jsonl.

    A new prompt is its seed with another last user message: it keeps system message, schema, tools, language and tags,
    names the seed in `parents`, and stays in its group, so that a split never parts them. The teacher is asked by `label`
    in `out`/label: an answer that is stored is not bought again. Raises what `label` raises, ConfigError for settings that
    are wrong, BackendError where nothing new came.
    """
    out, settings = named(out), settings or Expansion()
    _check(out, settings)
    seeds = list(seeds)
    asked = {f"{seed.id}+": seed for seed in seeds}
    if len(asked) != len(seeds):
        raise DataError("two seeds have one id. Ids must be unique.")
    requests = [_request(seed, name, settings) for name, seed in asked.items()]
    labelled = label(requests, teacher, out / ASKED, settings=settings.labelling, progress=progress)
    made: Counter[str] = Counter()
    new = list(_new(((asked[example.prompt.id], example) for example in labelled), seeds, settings, made))
    if not new:
        said = ", ".join(f"{number} {reason}" for reason, number in sorted(made.items())) or "no text"
        raise BackendError(f"nothing new came of {len(seeds)} seeds ({said}). The answers are kept in {out / ASKED}.")
    with replacing(out / PROMPTS) as part:
        write_rows(part, map(native_row, [*(seeds if settings.with_seeds else ()), *new]))
    return Expanded(
        path=out / PROMPTS, seeds=len(seeds), unanswered=len(seeds) - labelled.counts.answered,
        transient=labelled.transient, texts=len(new) + made.total(), new=len(new), left_out=dict(made),
    )  # fmt: skip


def _check(out: Path, settings: Expansion) -> None:
    if not 1 <= settings.n <= 50:
        raise ConfigError(f"n is {settings.n}; ask for 1 to 50 prompts per seed.")
    if not 0 < settings.alike <= 1:
        raise ConfigError(f"alike is {settings.alike}; it is a share above 0, at most 1.")
    if (out / PROMPTS).exists() and not (out / ASKED).is_dir():
        raise ConfigError(f"{out / PROMPTS} was not made by an expansion and is left as it is. Choose another --out.")


def _request(seed: Prompt, name: str, settings: Expansion) -> Prompt:
    """Return the question for prompts like a seed; its answer is JSON, which `label` validates."""
    language = seed.language or ""
    text = settings.template or (FRENCH if language.casefold().partition("-")[0] == "fr" else ENGLISH)
    system = next((message.get("content") for message in seed.messages if message.get("role") == "system"), None)
    values = {"seed": seed.text, "n": settings.n, "language": language, "system": system or ""}
    asked = Template(text, "the template of the expansion").render(values, seed.where or seed.id)
    items = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    schema: JSONObject = {
        "type": "object", "properties": {"prompts": items}, "required": ["prompts"], "additionalProperties": False,
    }  # fmt: skip
    return Prompt(
        id=name, messages=({"role": "user", "content": asked},), schema=schema, language=seed.language, where=seed.where
    )


def _new(
    answers: Iterator[tuple[Prompt, Example]], seeds: Sequence[Prompt], settings: Expansion, left_out: Counter[str]
) -> Iterator[Prompt]:
    known = Likenesses(settings.alike)
    for seed in seeds:
        known.add(seed.text)
    for seed, example in answers:
        for number, text in enumerate(_texts(example.answer.content)):
            repeated = known.repeats(text)
            if number >= settings.n or len(text) > MAX_CHARACTERS:
                left_out["surplus"] += 1
            elif not text.strip():
                left_out["empty"] += 1
            elif repeated == "equal" or (repeated and settings.alike < 1):
                left_out[repeated] += 1
            else:
                known.add(text)
                yield _prompt(seed, text.strip(), example)


def _texts(content: str) -> list[str]:
    try:
        return list(extract_json(content).value["prompts"])
    except (ValueError, LookupError, TypeError) as error:  # `label` held it against the schema
        raise DataError(f"an answer holds no prompts ({error}). Label again with --retry rejected.") from error


def _prompt(seed: Prompt, text: str, example: Example) -> Prompt:
    last = max(at for at, message in enumerate(seed.messages) if message.get("role") == "user")
    messages = (*seed.messages[:last], {**seed.messages[last], "content": text})
    return replace(
        seed, id=f"{seed.id}+{digest(text)[:8]}", messages=messages, reference=None, given=None, provenance={},
        group=seed.group or seed.id, source=f"expanded by {example.answer.model or 'a teacher'}", parents=(seed.id,),
        metadata={}, rejected=None,
    )  # fmt: skip
