"""Under what terms a student may be published: those of its teacher, its base and its data, merged into one verdict.

Nothing here is legal advice. What is not known to be free is not resolved, and what is not resolved is not published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from pillm.records import JSONObject
from pillm.yamlfile import parse_yaml

Role: TypeAlias = Literal["base", "teacher", "data"]
ROLES: tuple[Role, ...] = ("base", "teacher", "data")
FREE = ("permissive", "attribution")
_ASKS = {
    "share-alike": "what is made from it must carry the same licence",
    "non-commercial": "what is made from it may not be used commercially",
    "named": "what is made from it stays under its terms",
    "no-derivatives": "nothing made from it may be published",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that a student was made from, and its terms as far as they are known."""

    role: Role
    name: str
    revision: str | None = None
    license: str | None = None
    """An id of SPDX or of the hub; None where nobody says."""
    link: str | None = None
    said_by: str | None = None
    """Who says so: "recipe", "model card", "rows" or "known terms"."""
    rows: int | None = None
    """Of data: how many rows."""

    @property
    def kind(self) -> str | None:
        """Return what kind of licence it is under, as `terms.yaml` sorts them; None where that is not known."""
        return _kinds().get((self.license or "").casefold())

    def __str__(self) -> str:
        named = f"{self.role} {self.name}" if self.name else self.role
        return f"{named} ({self.license or 'terms unknown'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a student may be published, under which licence, and what stands against it."""

    publishable: bool
    license: str | None
    sentence: str
    reasons: tuple[str, ...] = ()


@cache
def _table() -> JSONObject:
    table: JSONObject = parse_yaml(Path(__file__).with_name("terms.yaml").read_text("utf-8"))
    return table


@cache
def _kinds() -> dict[str, str]:
    return {name.casefold(): kind for kind, names in _table()["licenses"].items() for name in names}


def known_terms(model: str) -> JSONObject:
    """Return what is known of a model by its name: `license`, and where they matter `link` and `asks`; empty for most."""
    name = model.casefold()
    for row in _table()["models"]:
        if any(fnmatchcase(name, pattern) for pattern in row["match"]):
            return {key: value for key, value in row.items() if key != "match"}
    return {}


def parts_of(lineage: JSONObject, told: Mapping[str, str | None] | None = None) -> tuple[Part, ...]:
    """Return what a student was made from; `told` is what a person says of the terms, by role, and outweighs the rest."""
    told = told or {}
    found = [_model(role, lineage[role], told.get(role)) for role in ("base", "teacher") if lineage.get(role)]
    if lineage.get("adapter"):  # somebody else's, trained from the base: it has terms of its own
        found.insert(1, _model("base", lineage["adapter"], told.get("base")))
    return (*found, *_data(lineage.get("data") or {}, told.get("data")))


def _model(role: Literal["base", "teacher"], said: JSONObject, told: str | None) -> Part:
    known = known_terms(str(said["name"]))
    choices = ((told, None, "recipe"), (said.get("license"), said.get("link"), "model card"),
               (known.get("license"), known.get("link"), "known terms"))  # fmt: skip
    license_, link, by = next((one for one in choices if one[0]), (None, None, None))
    return Part(role=role, name=str(said["name"]), revision=said.get("revision"), license=license_, link=link, said_by=by)


def _data(said: JSONObject, told: str | None) -> tuple[Part, ...]:
    """Return the rows' sources, one part for each licence of each; a row that names none is under what a person says."""
    found: dict[tuple[str, str | None, str | None], int] = {}
    for source, licenses in (said.get("sources") or {}).items():
        for name, rows in licenses.items():
            key = (source, name, "rows") if name else (source, told, "recipe" if told else None)
            found[key] = found.get(key, 0) + rows
    return tuple(
        Part(role="data", name=source, license=license_, said_by=by, rows=rows)
        for (source, license_, by), rows in found.items()
    )


def judge(parts: Sequence[Part], license_: str | None, accepted: Iterable[str] = ()) -> Verdict:
    """Return the verdict on a student of these parts that is to be under a licence, by default its base's where that is free.

    `accepted` are the roles whose terms a person has read and says are kept.
    """
    taken = frozenset(accepted)
    chosen = license_ or next((part.license for part in parts if part.role == "base" and part.kind in FREE), None)
    reasons = [reason for part in parts if part.role not in taken for reason in _against(part, chosen)]
    if not parts:
        reasons.append("nobody says what it was made from: it carries no lineage")
    if chosen is None:
        reasons.append("no licence is set for it: set terms.license in the recipe, or export with --terms license=LICENCE")
    made = f"Made from {_listed([str(part) for part in parts])}." if parts else ""
    consent = sorted({part.role for part in parts if part.role in taken and _against(part, chosen)})
    kept = f" Its publisher says that the terms of its {_listed(consent)} are kept." if consent else ""
    if reasons:
        sentence = f"Not to be published yet: {'; '.join(dict.fromkeys(reasons))}. {made}{kept}"
    else:
        sentence = f"May be published under {chosen}. {made}{kept}{_credit(parts)}"
    unique = tuple(dict.fromkeys(reasons))
    return Verdict(publishable=not reasons, license=chosen, sentence=sentence.strip(), reasons=unique)


def _against(part: Part, chosen: str | None) -> list[str]:
    """Return what stands against publishing something made from a part under a licence."""
    who = f"the {part.role}{f' {part.name}' if part.name else ''}"
    if part.license is None:
        rows = f" ({part.rows} rows)" if part.rows else ""
        remedy = f"set terms.{part.role} in the recipe, or export with --terms {part.role}=LICENCE"
        return [f"the terms of {who}{rows} are not known: {remedy}"]
    if part.kind in FREE:
        return []
    if part.kind is None:
        asks = next((row["asks"] for row in _table()["models"] if row["license"] == part.license and "asks" in row), None)
        why = f": {asks}" if asks else ", which pillm does not know"
        return [f"{who} is under {part.license}{why}; read it, and name {part.role} in terms.accepted if it is kept"]
    same = (chosen or "").casefold() == part.license.casefold()
    if part.kind == "non-commercial":
        same = same or Part(role="base", name="", license=chosen).kind == "non-commercial"
    if same and part.kind != "no-derivatives":
        return []
    return [f"{who} is under {part.license}: {_ASKS[part.kind]}, and not under {chosen or 'an unnamed licence'}"]


def _credit(parts: Sequence[Part]) -> str:
    owed = dict.fromkeys(part.name or part.role for part in parts if part.kind in ("attribution", "share-alike"))
    return f" Credit is owed to {_listed(list(owed))}." if owed else ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
