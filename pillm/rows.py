"""Rows in and out: native `messages` JSONL; other formats are converted at the door."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm.errors import DataError
from pillm.records import Answer, Example, JSONObject, Message, Prompt, Reference, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_LINE = 8 * 1024 * 1024
MAX_DEPTH = 64
ROLES = ("system", "developer", "user", "assistant", "tool")
FIELDS = frozenset({
    "id", "messages", "schema", "tools", "reference", "split", "group", "source", "license",
    "language", "tags", "parents", "metadata", "provenance",
})  # fmt: skip
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def schema_folders(beside: Path | None = None) -> list[Path]:
    """Return the folders where a schema's name is looked up, nearest first."""
    package = Path(__file__).parent
    folders = [package / "schemas", package.parent / "schemas"]
    return ([beside / "schemas"] if beside else []) + [folder for folder in folders if folder.is_dir()]


def named_schema(name: str, beside: Path | None = None) -> JSONObject:
    """Return the JSON Schema of that name; raise DataError where there is none."""
    folders = schema_folders(beside)
    if _SLUG.fullmatch(name):
        for folder in folders:
            path = folder / f"{name}.schema.json"
            if path.is_file():
                found: JSONObject = json.loads(path.read_text("utf-8"))
                return found
    known = sorted({path.name.removesuffix(".schema.json") for folder in folders for path in folder.glob("*.schema.json")})
    raise DataError(f"no schema is called {name!r}; known: {', '.join(known) or 'none'}. An inline JSON Schema works too.")


def parse_json(text: str) -> Any:
    """Parse one JSON document strictly: no duplicate keys, no NaN, bounded depth; raise ValueError."""

    def pairs(items: list[tuple[str, Any]]) -> JSONObject:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("an object repeats a key")
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from error
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return value


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            break
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, depth + 1) for child in children)
    return deepest


def read_lines(path: Path) -> Iterator[tuple[str, JSONObject]]:
    """Yield (`file:line`, object) for each line of a JSONL file; raise DataError that names the place."""
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a JSONL file with one object per line.")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}:{number}"
            if not line.strip():
                continue
            yield where, _parse_line(line, where)


def _parse_line(line: bytes, where: str) -> JSONObject:
    if len(line) > MAX_LINE:
        raise DataError(f"{where}: the line is longer than {MAX_LINE // 2**20} MiB. Split the row or leave it out.")
    try:
        text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error
    try:
        row = parse_json(text)
    except ValueError as error:
        torn = "" if line.endswith(b"\n") else " The line has no newline at its end: the file seems to be cut off."
        raise DataError(f"{where}: not a JSON object ({error}).{torn} Mend or remove the line.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: the line holds a {type(row).__name__}, not a JSON object.")
    return row


def read_prompts(path: Path | str, *, relabel: bool = False) -> list[Prompt]:
    """Read the prompts of a JSONL file (native, flat, Alpaca, ShareGPT or prompt/completion rows).

    Unknown keys survive in `metadata`. Rows that arrive answered keep the answer as `reference` and, unless
    `relabel`, as `given`. Raises DataError with file and line, for duplicate ids too.
    """
    path = Path(path)
    prompts = [prompt_from_row(row, where=where, beside=path.parent, relabel=relabel) for where, row in read_lines(path)]
    seen: dict[str, str] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise DataError(f"{prompt.where}: id {prompt.id!r} stands already at {seen[prompt.id]}. Ids must be unique.")
        seen[prompt.id] = prompt.where
    return prompts


def prompt_from_row(row: Mapping[str, Any], *, where: str = "", beside: Path | None = None, relabel: bool = False) -> Prompt:
    """Return the prompt of one row; raise DataError where it is not one."""
    from pillm.rowformats import to_native

    try:
        native = to_native(dict(row))
        messages = _messages(native["messages"])
        answered = messages[-1] if messages[-1]["role"] == "assistant" else None
        asked = messages[:-1] if answered else messages
        if not any(message["role"] == "user" for message in asked):
            raise DataError("no 'user' message with text. A row needs 'messages' with a user turn, or 'user'.")
        schema, schema_name = _schema(native.get("schema"), beside)
        return Prompt(
            id=_text(native, "id") or f"row-{where.rpartition(':')[2] or '1'}",
            messages=tuple(asked),
            schema=schema,
            schema_name=schema_name,
            tools=tuple(_list(native, "tools", dict)),
            reference=_reference(native.get("reference"), answered),
            given=None if relabel else answered,
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
        if not (isinstance(content, str) and content.strip()) and not calls:
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


def _metadata(row: Mapping[str, Any]) -> JSONObject:
    kept = row.get("metadata") or {}
    if not isinstance(kept, dict):
        raise DataError("'metadata' must be an object.")
    return {**kept, **{key: value for key, value in row.items() if key not in FIELDS}}


def prompt_to_row(prompt: Prompt) -> JSONObject:
    """Return the native row of a prompt; what is absent is left out."""
    row: JSONObject = {"id": prompt.id, "messages": list(prompt.messages)}
    row["schema"] = prompt.schema_name or prompt.schema
    row["tools"] = list(prompt.tools)
    if prompt.reference:
        kept = {key: value for key, value in prompt.reference.message.items() if key != "role"}
        row["reference"] = {**kept, "origin": prompt.reference.origin}
    for name in ("split", "group", "source", "license", "language"):
        row[name] = getattr(prompt, name)
    row["tags"], row["parents"] = list(prompt.tags), list(prompt.parents)
    row["metadata"] = prompt.metadata
    return {key: value for key, value in row.items() if value not in (None, [], {})}


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
    if row.get("reference") is None:
        from dataclasses import replace

        prompt = replace(prompt, reference=None)  # a teacher's answer is not the truth
    given, made = prompt.given, row.get("provenance") or {}
    usage = Usage(prompt_tokens=made.get("prompt_tokens", 0), completion_tokens=made.get("completion_tokens", 0))
    answer = Answer(
        content=str(given.get("content") or ""),
        reasoning=given.get("reasoning"),
        tool_calls=tuple(given.get("tool_calls") or ()),
        finish_reason=made.get("finish_reason", "stop"),
        usage=usage if "prompt_tokens" in made else None,
        model=made.get("model"),
    )
    return Example(prompt=prompt, answer=answer, source=made.get("source", "given"), key=made.get("key", ""))


def read_examples(path: Path | str) -> list[Example]:
    """Read the labelled examples of a JSONL file; raise DataError with file and line."""
    path = Path(path)
    return [example_from_row(row, where=where, beside=path.parent) for where, row in read_lines(path)]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL and return how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count
