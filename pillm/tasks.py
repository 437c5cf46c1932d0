"""Tasks: turn the rows of a plain table into prompts, one after the other, and account for every row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pillm.errors import ConfigError, DataError
from pillm.metrics import schema_error
from pillm.records import JSONObject, Message, Prompt
from pillm.rows import named_schema, prompt_from_row, prompt_to_row, with_own_id
from pillm.seen import Seen
from pillm.tablefile import Table, require_columns
from pillm.taskfile import TEMPLATES, TaskFile, read_task_file
from pillm.templates import Template
from pillm.yamlfile import read_table

ITEM = "item"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task file, checked; made by `load_task`."""

    file: TaskFile
    path: Path
    templates: dict[str, Template]
    tags: tuple[Template, ...]
    schema: JSONObject | None
    shots: tuple[Message, ...]
    """The worked examples as turns."""

    @property
    def generation(self) -> dict[str, Any]:
        """Return the options for the teacher: `pillm.teacher("openai", model=..., **task.generation)`."""
        return dict(self.file.generation)

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns that a table must have."""
        asked = {name for template in (*self.templates.values(), *self.tags) for name in template.columns}
        asked |= {name.partition(".")[0] for name in self.file.where} | set(self.file.keep)
        if self.file.each:
            asked = (asked - {ITEM}) | {self.file.each}
        return frozenset(asked)


@dataclass(slots=True)
class TaskCounts:
    """Where the rows of a table went: items = prompts + left out. Without `each` a row is one item."""

    rows: int = 0
    items: int = 0
    prompts: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason to number: `difficulty above 7`."""

    @property
    def balanced(self) -> bool:
        """Say whether every item is accounted for."""
        return self.items == self.prompts + self.left_out.total()


def load_task(path: Path | str) -> Task:
    """Read a task file; raise ConfigError in a sentence with the file's name for anything that is wrong."""
    path = Path(path)
    data = read_table(path, "a task file", "`pillm schema task` says what a task file holds.")
    try:
        return _task(read_task_file(data), path)
    except DataError as error:  # a schema without a file, an example that does not fit
        raise ConfigError(f"{path.name}: {error}") from error
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(path.name) else f"{path.name}: {error}") from error


def _task(file: TaskFile, path: Path) -> Task:
    said = {name: text for name in TEMPLATES if (text := getattr(file, name)) is not None}
    templates = {name: Template(text, f"{path.name}: {name}") for name, text in said.items()}
    schema = file.answer_schema
    if isinstance(schema, str):
        schema = named_schema(schema, path.parent)
    shots: list[Message] = []
    for number, shot in enumerate(file.examples, 1):
        where = f"examples.{number}"
        asked = shot.input if isinstance(shot.input, str) else templates["input"].render(shot.input, where)
        output = shot.output if isinstance(shot.output, str) else json.dumps(shot.output, ensure_ascii=False)
        if schema is not None and (fault := _misfit(schema, output)):
            raise ConfigError(f"{where}: the output does not satisfy the task's own schema: {fault}.")
        shots += [{"role": "user", "content": asked}, {"role": "assistant", "content": output}]
    tags = tuple(Template(text, f"{path.name}: tags") for text in file.tags)
    return Task(file=file, path=path, templates=templates, tags=tags, schema=schema, shots=tuple(shots))


def _misfit(schema: JSONObject, text: str) -> str | None:
    try:
        return schema_error(schema, json.loads(text))
    except ValueError as error:
        return str(error)


def prompts_of(task: Task, table: Table, counts: TaskCounts | None = None) -> Iterator[Prompt]:
    """Yield the prompts of a table's rows in their order, and count into `counts`; nothing is kept in memory.

    Rows outside the task's bounds are left out and counted. Raises DataError with the row's place for a column that is
    not there, a value that is no number, a template that does not fit its row, an id that stands twice, and at the end
    where no row was used.
    """
    require_columns(table, task.columns, f"{task.path.name}")
    counts = TaskCounts() if counts is None else counts
    with Seen() as seen:
        for where, row in table:
            counts.rows += 1
            for place, values in _used(task, where, row, counts):
                yield _prompt(task, values, (place, table.source), seen)
    if not counts.prompts:
        reasons = "; ".join(f"{number} {reason}" for reason, number in counts.left_out.most_common(5))
        raise DataError(f"{task.path.name}: no row of {table.source} is used: {counts.items} left out ({reasons}).")


def _used(task: Task, where: str, row: JSONObject, counts: TaskCounts) -> Iterator[tuple[str, JSONObject]]:
    """Yield the items of a row that become prompts, and count all of them."""
    made = 0
    for place, values in _items(task, where, row):
        counts.items += 1
        reason = f"{task.file.each} empty" if values is None else _refusal(task, values, place)
        if reason is None and task.file.at_most is not None and made >= task.file.at_most:
            reason = f"more than {task.file.at_most} of one row"
        if values is None or reason is not None:
            counts.left_out[str(reason)] += 1
            continue
        made += 1
        counts.prompts += 1
        yield place, values


def _items(task: Task, where: str, row: JSONObject) -> Iterator[tuple[str, JSONObject | None]]:
    """Yield what prompts are made of: the row, or with `each` the row with one `item` after the other; None: there is none."""
    name = task.file.each
    if name is None:
        yield where, row
        return
    items = row.get(name)
    if not isinstance(items, list):
        raise DataError(f"{where}: the column {name!r} holds no list, which 'each' needs. Mend the row or leave it out.")
    if not items:
        yield where, None
    for number, item in enumerate(items):
        yield f"{where}, {name}[{number}]", {**row, ITEM: item}


def _refusal(task: Task, values: JSONObject, where: str) -> str | None:
    """Return why an item is left out, or None; raise DataError for a value that cannot be compared."""
    for path, bounds in task.file.where.items():
        value = _number(_value(values, path), path, where)
        reason = "missing" if value is None else bounds.refusal(value)
        if reason:
            return f"{path} {reason}"
    return None


def _value(values: JSONObject, path: str) -> Any:
    """Return the value of a column, or of `column.key.key`, None where it is not there."""
    if path in values:
        return values[path]
    found: Any = values
    for step in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    return found


def _number(value: Any, path: str, where: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {path!r} must be a number, not {value!r:.80}. Mend the row, or take the bounds away.")
    return number


def _prompt(task: Task, values: JSONObject, origin: tuple[str, str], seen: Seen) -> Prompt:
    where, source = origin
    said = {name: template.render(values, where) for name, template in task.templates.items()}
    native: JSONObject = {name: said[name].strip() for name in ("id", "group", "split", "language", "license") if name in said}
    native |= {"messages": _messages(task, said), "tools": task.file.tools, "source": said.get("source") or source}
    native["reference"] = said.get("reference") or None
    native["tags"] = [tag for template in task.tags if (tag := template.render(values, where).strip())]
    native["metadata"] = {"task": task.file.name} | {name: values.get(name) for name in task.file.keep}
    if task.schema is not None:
        native["schema"] = task.file.answer_schema
    return with_own_id(prompt_from_row(native, where=where, beside=task.path.parent), seen, given=bool(native.get("id")))


def _messages(task: Task, said: dict[str, str]) -> list[Message]:
    turns = [*task.shots, {"role": "user", "content": said["input"]}]
    if said.get("instructions", "").strip():
        turns[0] = {"role": "user", "content": f"{said['instructions'].rstrip()}\n\n{turns[0]['content']}"}
    if said.get("system", "").strip():
        turns.insert(0, {"role": "system", "content": said["system"].strip()})
    if said.get("answer", "").strip():
        thoughts = said.get("reasoning", "").strip()
        turns.append({"role": "assistant", "content": said["answer"]} | ({"reasoning": thoughts} if thoughts else {}))
    return turns


def native_row(prompt: Prompt) -> JSONObject:
    """Return the whole native row of a prompt, the answer that it arrived with included."""
    native = prompt_to_row(prompt)
    if prompt.given:
        native["messages"] = [*native["messages"], prompt.given]
    if prompt.provenance:
        native["provenance"] = prompt.provenance
    return native


class TaskPrompts(Iterable[Prompt]):
    """The prompts of a table, made anew each time they are iterated over, as `PromptFile` reads them where they were written.

    `counts` says where the rows went in the last whole pass; `heard` is called with it at the end of the first.
    """

    def __init__(
        self, task: Task, table: Table, *, relabel: bool = False, heard: Callable[[TaskCounts], object] | None = None
    ) -> None:
        self.task, self.table, self._relabel, self._heard = task, table, relabel, heard
        self.counts = TaskCounts()

    def __iter__(self) -> Iterator[Prompt]:
        counts = TaskCounts()
        for prompt in prompts_of(self.task, self.table, counts):
            yield prompt_from_row(native_row(prompt), where=prompt.where, relabel=self._relabel)
        heard, self._heard, self.counts = self._heard, None, counts
        if heard:
            heard(counts)
