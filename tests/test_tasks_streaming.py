"""Prompts are made of a table's rows while they are read, as often as they are asked for, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pillm.records import JSONObject
from pillm.rows import PromptFile, write_rows
from pillm.tablefile import Table
from pillm.tasks import TaskCounts, TaskPrompts, native_row, prompts_of
from tests.tables import PLAIN, table_of, task_of


def test_prompts_are_made_while_rows_are_read(tmp_path: Path) -> None:
    read = 0

    def rows() -> Iterator[tuple[str, JSONObject]]:
        nonlocal read
        for number in range(1, 4_001):
            read = number
            yield f"t:{number}", {"a": f"{number} {'x' * 500}"}

    stream = prompts_of(task_of(tmp_path, PLAIN), Table(source="t", read=rows))
    next(stream)
    assert read == 1
    tracemalloc.start()
    rest = sum(1 for _ in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{rest + 1} prompts of 2 MiB at a peak of {peak >> 10} KiB")
    assert rest == 3_999
    assert peak < 2**20


TOLD = """
name: moods
system: You judge moods.
instructions: Say the mood.
input: "{{ text }}"
schema: mood
examples: [{input: I won, output: {mood: happy}}]
reference: '{"mood": {{ mood|json }}}'
answer: "{{ said }}"
reasoning: "{{ why }}"
group: "{{ topic }}"
split: "{{ side }}"
tags: ["{{ topic }}", mood]
keep: [mood]
where: {level: {max: 3}}
"""


@pytest.mark.parametrize("relabel", [False, True])
def test_prompts_of_a_table_are_those_of_the_file_that_it_would_become(tmp_path: Path, relabel: bool) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "mood.schema.json").write_text('{"type": "object", "required": ["mood"]}', "utf-8")
    row = {"text": "Quel été", "mood": "gai", "said": '{"mood": "gai"}', "why": "été", "topic": "a", "side": "test", "level": 1}
    task = task_of(tmp_path, TOLD)
    table = table_of(row, row, {**row, "said": "", "topic": ""}, {**row, "level": 9}, {**row, "text": "b", "mood": None})
    written = tmp_path / "elsewhere" / "prompts.jsonl"
    written.parent.mkdir()
    write_rows(written, map(native_row, prompts_of(task, table)))
    heard: list[TaskCounts] = []
    rows = TaskPrompts(task, table, relabel=relabel, heard=heard.append)
    found = list(rows)
    assert found == [
        replace(one, where=here.where) for one, here in zip(PromptFile(written, relabel=relabel), found, strict=True)
    ]
    assert [one.where for one in found] == ["t:1", "t:2", "t:3", "t:5"]
    assert list(rows) == found  # as often as it is asked for
    assert heard == [rows.counts]  # told once
    assert (rows.counts.items, rows.counts.prompts, dict(rows.counts.left_out)) == (5, 4, {"level above 3": 1})
    next(iter(rows))
    assert rows.counts.prompts == 4  # a pass that was broken off counts for nothing


def test_a_task_iterates_over_a_table_of_any_length_in_little_memory(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str, JSONObject]]:
        return ((f"t:{number}", {"a": f"{number} {'x' * 500}"}) for number in range(4_000))

    prompts = TaskPrompts(task_of(tmp_path, PLAIN), Table(source="t", read=rows))
    tracemalloc.start()
    passes = [sum(1 for _ in prompts) for _ in range(2)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passes == [4_000, 4_000]
    assert peak < 2**20, f"{peak >> 10} KiB"
