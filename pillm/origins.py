"""Where a model comes from, and what its own card says of its licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pillm.records import JSONObject
from pillm.yamlfile import MAX_BYTES, parse_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A model that something is made from: its name, its revision, and its folder where it lies on this machine."""

    name: str
    revision: str | None = None
    """The commit of a repository; None for a folder, or where nobody says."""
    folder: Path | None = None


def front_matter(readme: Path) -> JSONObject:
    """Return the YAML table that a model card begins with; empty where there is none, or none that can be read."""
    try:
        with readme.open("rb") as file:
            lines = file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
        if not lines or lines[0].strip() != "---":
            return {}
        found = parse_yaml("\n".join(lines[1 : lines.index("---", 1)]))
    except (OSError, ValueError):  # a card is written for people: what cannot be read says nothing
        return {}
    return found if isinstance(found, dict) else {}


def license_of(folder: Path | None) -> tuple[str | None, str | None]:
    """Return the licence that a model folder's card names, and the link to its text; None where it names none."""
    said = front_matter(folder / "README.md") if folder else {}
    name, link = said.get("license_name") or said.get("license"), said.get("license_link")
    one = name[0] if isinstance(name, list) and len(name) == 1 else name
    return (one if isinstance(one, str) and one else None), (link if isinstance(link, str) and link else None)
