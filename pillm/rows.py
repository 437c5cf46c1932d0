"""Rows in and out: native `messages` JSONL; other formats are converted at the door."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from pillm.errors import DataError
from pillm.jsonl import parse_json as parse_json
from pillm.jsonl import read_lines as read_lines
from pillm.jsonl import write_rows as write_rows
from pillm.preferences import rejected_message
from pillm.records import Answer, Example, JSONObject, Message, Prompt, Reference, Usage, digest
from pillm.rowformats import to_native
from pillm.seen import Seen

ROLES = ("system", "developer", "user", "assistant", "tool")
FIELDS = frozenset({
    "id", "messages", "schema", "tools", "reference", "split", "group", "source", "license",
    "language", "tags", "parents", "metadata", "provenance", "rejected",
})  # fmt: skip
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def schema_folders(beside: Path | None = None) -> list[Path]:
    """Return the folders where a schema's name is looked up, nearest first."""
    package = Path(__file__).parent
    folders = [package / "schemas", package.parent / "schemas"]
    return ([beside / "schemas"] if beside else []) + [folder for folder in folders if folder.is_dir()]


_PLACES: dict[tuple[str, Path | None], Path] = {}


def named_schema(name: str, beside: Path | None = None) -> JSONObject:
    """Return the JSON Schema of that name; raise DataError where there is none."""
    known = _PLACES.get((name, beside))  # thousands of rows name the same one
    if known is not None:
        with suppress(FileNotFoundError):
            return _schema_file(known, known.stat().st_mtime_ns)
    folders = schema_folders(beside)
    if _SLUG.fullmatch(name):
        for folder in folders:
            path = folder / f"{name}.schema.json"
            if path.is_file():
                _PLACES[name, beside] = path
                return _schema_file(path, path.stat().st_mtime_ns)
    names = sorted({path.name.removesuffix(".schema.json") for folder in folders for path in folder.glob("*.schema.json")})
    raise DataError(f"no schema is called {name!r}; known: {', '.join(names) or 'none'}. An inline JSON Schema works too.")


@lru_cache(maxsize=256)
def _schema_file(path: Path, _changed: int) -> JSONObject:
    """Return a schema file's content; every row that names it shares one object."""
    return read_schema(path)


def read_schema(path: Path) -> JSONObject:
    """Return the JSON Schema that a file holds; raise DataError where it holds none."""
    try:
        found = parse_json(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not a JSON Schema ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON Schema: it holds no object.")
    return found


def read_prompts(path: Path | str, *, relabel: bool = False) -> list[Prompt]:
    """Read the prompts of a JSONL file (native, flat, Alpaca, ShareGPT or prompt/completion rows).

    Unknown keys survive in `metadata`. Rows that arrive answered keep the answer as `given` with its `provenance`, unless
    `relabel`, and as `reference`, unless a teacher gave it. A row without an id is named by its content, so that moving
    it changes nothing. Raises DataError with file and line, for duplicate ids too.
    """
    return list(PromptFile(path, relabel=relabel))


class PromptFile(Iterable[Prompt]):
    """The prompts of a JSONL file, as `read_prompts` reads them, one at a time each time they are iterated over."""

    def __init__(self, path: Path | str, *, relabel: bool = False) -> None:
        self.path, self._relabel = Path(path), relabel

    def __iter__(self) -> Iterator[Prompt]:
        with Seen() as seen:
            for where, row in read_lines(self.path):
                prompt = prompt_from_row(row, where=where, beside=self.path.parent, relabel=self._relabel)
                yield with_own_id(prompt, seen, given=row.get("id") not in (None, ""))


def with_own_id(prompt: Prompt, seen: Seen, *, given: bool) -> Prompt:
    """Return the prompt under an id of its own: one made of its content gets a number where it stands twice.

    Raises DataError for a given id that stands twice.
    """
    if seen.first(prompt.id, prompt.where):
        return prompt
    if given:
        raise DataError(f"{prompt.where}: id {prompt.id!r} stands already at {seen.note(prompt.id)}. Ids must be unique.")
    return replace(prompt, id=next(name for n in count(2) if seen.first(name := f"{prompt.id}-{n}", prompt.where)))


def prompt_from_row(row: Mapping[str, Any], *, where: str = "", beside: Path | None = None, relabel: bool = False) -> Prompt:
    """Return the prompt of one row; raise DataError where it is not one."""
    try:
        native = to_native(dict(row))
        messages = _messages(native["messages"])
        answered = messages[-1] if messages[-1]["role"] == "assistant" else None
        asked = messages[:-1] if answered else messages
        if not any(message["role"] == "user" for message in asked):
            raise DataError("no 'user' message with text. A row needs 'messages' with a user turn, or 'user'.")
        schema, schema_name = _schema(native.get("schema"), beside)
        made = _object(native, "provenance") if answered else {}
        truth = answered if made.get("source") != "teacher" else None
        return Prompt(
            id=_text(native, "id") or f"row-{digest(asked)[:12]}",
            messages=tuple(asked),
            schema=schema,
            schema_name=schema_name,
            tools=tuple(_list(native, "tools", dict)),
            reference=_reference(native.get("reference"), truth),
            given=None if relabel else answered,
            provenance={} if relabel else made,
            rejected=rejected_message(native.get("rejected")),
            split=_text(native, "split"),
            group=_text(native, "group"),
            source=_text(native, "source"),
            license=_text(native, "license"),
            language=_text(native, "language"),
            tags=tuple(_list(native, "tags", str)),
            parents=tuple(_list(native, "parents", str)),
            metadata=_metadata(native),
            where=where,
        )
    except DataError as error:
        raise DataError(f"{where}: {error}" if where and not str(error).startswith(where) else str(error)) from error


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise DataError("'messages' must be a list of chat messages that is not empty.")
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise DataError(f"each message needs a 'role' out of {', '.join(ROLES)}.")
        content, calls = message.get("content"), message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            raise DataError(f"the {message['role']!r} message's 'tool_calls' must be a list of objects.")
        if not isinstance(content, str | None) or not ((content or "").strip() or calls):
            raise DataError(f"the {message['role']!r} message has no text in 'content'.")
    return value


def _schema(value: Any, beside: Path | None) -> tuple[JSONObject | None, str | None]:
    if value is None:
        return None, None
    if isinstance(value, str):
        return named_schema(value, beside), value
    if isinstance(value, dict):
        return value, None
    raise DataError("'schema' must be a JSON Schema object or the name of one.")


def _reference(value: Any, answered: Message | None) -> Reference | None:
    if value is None:
        return Reference(message=answered, origin="given") if answered else None
    if isinstance(value, str):
        value = {"content": value}
    if not isinstance(value, dict):
        raise DataError("'reference' must be text or an object with 'content'.")
    message = {"role": "assistant", **{key: item for key, item in value.items() if key != "origin"}}
    return Reference(message=message, origin=str(value.get("origin", "given")))


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{name!r} must be text.")


def _list(row: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    value = row.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise DataError(f"{name!r} must be a list of {'objects' if kind is dict else 'texts'}.")
    return value


def _object(row: Mapping[str, Any], name: str) -> JSONObject:
    value = row.get(name) or {}
    if not isinstance(value, dict):
        raise DataError(f"{name!r} must be an object.")
    return value


def _metadata(row: Mapping[str, Any]) -> JSONObject:
    return {**_object(row, "metadata"), **{key: value for key, value in row.items() if key not in FIELDS}}


def prompt_to_row(prompt: Prompt) -> JSONObject:
    """Return the native row of a prompt; what is absent is left out."""
    row: JSONObject = {"id": prompt.id, "messages": list(prompt.messages)}
    row["tools"] = list(prompt.tools)
    if prompt.reference:
        message = {key: value for key, value in prompt.reference.message.items() if key != "role"}
        row["reference"] = {**message, "origin": prompt.reference.origin}
    row["rejected"] = prompt.rejected
    for name in ("split", "group", "source", "license", "language"):
        row[name] = getattr(prompt, name)
    row["tags"], row["parents"] = list(prompt.tags), list(prompt.parents)
    row["metadata"] = prompt.metadata
    kept = {key: value for key, value in row.items() if value not in (None, [], {})}
    return kept if prompt.schema is None else {**kept, "schema": _written_schema(prompt.schema_name, prompt.schema)}


def _written_schema(name: str | None, schema: JSONObject) -> JSONObject | str:
    """Return the schema's name where every reader finds it under that name, else the schema itself."""
    try:
        return name if name and named_schema(name) == schema else schema
    except DataError:
        return schema


def example_to_row(example: Example) -> JSONObject:
    """Return the native row of a labelled example: the answer is the last message, its making in `provenance`."""
    row = prompt_to_row(example.prompt)
    row["messages"] = list(example.messages)
    answer = example.answer
    provenance: JSONObject = {
        "source": example.source, "key": example.key, "model": answer.model, "finish_reason": answer.finish_reason,
    }  # fmt: skip
    if answer.usage:
        provenance["prompt_tokens"], provenance["completion_tokens"] = (
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
        )
    row["provenance"] = {key: value for key, value in provenance.items() if value not in (None, "")}
    return row


def example_from_row(row: Mapping[str, Any], *, where: str = "", beside: Path | None = None) -> Example:
    """Return the labelled example of one row; raise DataError where the row carries no answer."""
    prompt = prompt_from_row({"reference": None, **row}, where=where, beside=beside)
    if prompt.given is None:
        raise DataError(f"{where or prompt.id}: the row has no assistant message. Label it first: pillm label ...")
    # what is to be learnt is not the truth as well: only a reference that stands apart is kept
    return given_example(prompt if row.get("reference") is not None else replace(prompt, reference=None))


def given_example(prompt: Prompt) -> Example:
    """Return the example of a prompt that arrived answered, made as its provenance says, else "given"."""
    given, made = prompt.given or {}, prompt.provenance
    usage = Usage(prompt_tokens=made.get("prompt_tokens", 0), completion_tokens=made.get("completion_tokens", 0))
    answer = replace(
        Answer.from_message(given),
        finish_reason=made.get("finish_reason", "stop"),
        usage=usage if "prompt_tokens" in made else None,
        model=made.get("model"),
    )
    return Example(prompt=prompt, answer=answer, source=made.get("source", "given"), key=made.get("key", ""))


def read_examples(path: Path | str) -> list[Example]:
    """Read the labelled examples of a JSONL file; raise DataError with file and line."""
    path = Path(path)
    return [example_from_row(row, where=where, beside=path.parent) for where, row in read_lines(path)]
