"""Read YAML as plain data: no tags, no aliases, bounded size and depth, `1e-5` is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pillm.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that also refuses anchors, aliases, tags, duplicate keys and deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        for name, unwanted in (
            ("aliases", isinstance(event, yaml.AliasEvent)),
            ("anchors", event.anchor),
            ("tags", _tag(event)),
        ):
            if unwanted:
                raise ValueError(f"{_place(event)}: {name} are not allowed")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(  # noqa: TRY004 - it is the text that is wrong
                    f"{_place(key)}: a key must be a word, not a list or a table"
                )
            if key.value in seen:
                raise ValueError(f"{_place(key)}: {key.value!r} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 as PyYAML speaks it reads 1e-5 as text, `no` as False, 12:30 as 750, 010 as 8 and 2026-01-02 as a date.
# People mean a number, a word, a time, and names of versions. Merging (`<<`) goes too.
_KEPT = ("tag:yaml.org,2002:null",)
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z"), list("-+0123456789"))
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)\Z"
    ),
    list("-+0123456789."),
)
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|false|False)\Z"), list("tTfF"))


def _tag(event: Any) -> str | None:
    tag: str | None = getattr(event, "tag", None)
    return tag


def _place(thing: Any) -> str:
    return f"line {thing.start_mark.line + 1}"


def parse_yaml(text: str) -> Any:
    """Return the data of a YAML text; raise ValueError with the line."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES // 1024} KiB")
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a stricter SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{getattr(error, 'problem', None) or error}") from error


def read_table(path: Path, what: str, otherwise: str) -> dict[str, Any]:
    """Return the table that a YAML file holds; `what` names such a file, as in "a recipe".

    Raises ConfigError with the file's name where it holds none; `otherwise` is what to do where it cannot be read.
    """
    try:
        found = parse_yaml(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}. {otherwise}") from error
    except ValueError as error:
        raise ConfigError(f"{path.name}: not {what}: {error}.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name}: {what} is a table of keys and values.")
    return found
