"""Tasks: tables become prompts, row by row, and every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.records import JSONObject
from pillm.tablefile import read_table_file
from pillm.tasks import TaskCounts, load_task, prompts_of
from tests.tables import PLAIN, made, table_of, task_of


def test_a_csv_table_becomes_prompts_with_all_that_the_task_says(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "mood.schema.json").write_text('{"type": "object", "required": ["mood"]}', "utf-8")
    (tmp_path / "t.csv").write_text("text,mood,topic,lang,n\nQuel beau jour,gai,météo,fr,1\nI am wet,sad,,en,2\n", "utf-8")
    task = task_of(
        tmp_path,
        """
name: moods
system: You judge moods.
instructions: Say the mood as JSON.
input: "Text: {{ text }}"
schema: mood
examples:
  - {input: {text: I won}, output: {mood: happy}}
  - {input: "Text: I lost", output: '{"mood": "sad"}'}
generation: {temperature: 0.3, max_tokens: 60}
reference: '{"mood": {{ mood|json }}}'
id: "mood-{{ n }}"
group: "{{ topic|default('none') }}"
language: "{{ lang }}"
license: CC0-1.0
tags: ["{{ topic }}", mood]
keep: [n]
""",
    )
    first, second = prompts_of(task, read_table_file(tmp_path / "t.csv"))
    assert [(message["role"], message["content"]) for message in first.messages] == [
        ("system", "You judge moods."),
        ("user", "Say the mood as JSON.\n\nText: I won"),
        ("assistant", '{"mood": "happy"}'),
        ("user", "Text: I lost"),
        ("assistant", '{"mood": "sad"}'),
        ("user", "Text: Quel beau jour"),
    ]
    assert (first.id, first.language, first.license, first.tags, first.group) == (
        "mood-1", "fr", "CC0-1.0", ("météo", "mood"), "météo",
    )  # fmt: skip
    assert (first.schema_name, first.schema) == ("mood", {"type": "object", "required": ["mood"]})
    assert first.reference is not None
    assert json.loads(first.reference.content) == {"mood": "gai"}
    assert (first.source, first.where, first.metadata) == ("t.csv", "t.csv:2", {"task": "moods", "n": "1"})
    assert (second.tags, second.group, second.given) == (("mood",), None, None)
    assert task.generation == {"temperature": 0.3, "max_tokens": 60}


def test_without_examples_the_instructions_stand_before_the_question(tmp_path: Path) -> None:
    (prompt,) = made(tmp_path, f"{PLAIN}instructions: Translate into {{{{ to }}}}.\n", {"a": "hello", "to": "French"})
    assert prompt.messages == ({"role": "user", "content": "Translate into French.\n\nhello"},)


def test_a_row_may_bring_its_answer_and_the_thoughts_that_led_to_it(tmp_path: Path) -> None:
    text = PLAIN + "answer: '{{ said }}'\nreasoning: '{{ thought }}'\n"
    one, two = made(tmp_path, text, {"a": "q", "said": "r", "thought": "t"}, {"a": "p", "said": "", "thought": "t"})
    assert one.given == {"role": "assistant", "content": "r", "reasoning": "t"}
    assert two.given is None, "no answer, so a teacher is asked"


def test_bounds_leave_out_and_count(tmp_path: Path) -> None:
    task = task_of(tmp_path, PLAIN + "where: {difficulty: {min: 3, max: 7}, score.verbosity: {max: 5}}\n")
    rows = [
        {"a": str(number), "difficulty": difficulty, "score": {"verbosity": verbosity}}
        for number, (difficulty, verbosity) in enumerate([(2.9, 1), (3, 5), ("7", 5.5), (7, 5), (8, 9), (None, 1), ("", 1)])
    ]
    counts = TaskCounts()
    kept = list(prompts_of(task, table_of(*rows), counts))
    assert [prompt.text for prompt in kept] == ["1", "3"]
    assert counts.left_out == {
        "difficulty below 3": 1, "difficulty above 7": 1, "difficulty missing": 2, "score.verbosity above 5": 1,
    }  # fmt: skip
    assert (counts.rows, counts.items, counts.prompts, counts.balanced) == (7, 7, 2, True)


VALUES = st.none() | st.floats(-10, 10) | st.integers(-10, 10) | st.sampled_from(["", " ", "3", "-2.5"])


@given(st.lists(VALUES, min_size=1, max_size=30), st.integers(-5, 5), st.integers(0, 5))
def test_bounds_really_filter(tmp_path_factory: pytest.TempPathFactory, values: list[Any], low: int, width: int) -> None:
    text = f"{PLAIN}where: {{d: {{min: {low}, max: {low + width}}}}}\n"
    task = task_of(tmp_path_factory.mktemp("task"), text)
    counts = TaskCounts()
    rows = [{"a": "q", "d": value} for value in values]
    wanted = [value for value in values if str(value or 0).strip() and value not in (None, "", " ")]
    wanted = [value for value in wanted if low <= float(value) <= low + width]
    if wanted:
        assert len(list(prompts_of(task, table_of(*rows), counts))) == len(wanted)
    else:
        with pytest.raises(pillm.DataError, match="no row of t is used"):
            list(prompts_of(task, table_of(*rows), counts))
    assert counts.prompts == len(wanted)
    assert counts.rows == len(values)
    assert counts.balanced


def test_where_no_row_is_used_the_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"no row of t is used: 2 left out \(2 dificulty missing\)"):
        made(tmp_path, PLAIN + "where: {dificulty: {min: 1}}\n", {"a": "x", "difficulty": 1}, {"a": "y", "difficulty": 2})


def test_each_item_of_a_list_becomes_a_prompt_and_the_group_keeps_them_together(tmp_path: Path) -> None:
    text = """
name: traces
input: "{{ question }}"
each: reasoning
at_most: 1
where: {item.level: {min: 4}}
group: "{{ question }}"
answer: "{{ item.solution }}"
"""
    task = task_of(tmp_path, text)
    traces = [{"level": 2, "solution": "no"}, {"level": 5, "solution": "yes"}, {"level": 9, "solution": "late"}]
    counts = TaskCounts()
    table = table_of({"question": "q", "reasoning": traces}, {"question": "p", "reasoning": []})
    (prompt,) = prompts_of(task, table, counts)
    assert prompt.given is not None
    assert (prompt.given["content"], prompt.group, prompt.where) == ("yes", "q", "t:1, reasoning[1]")
    assert counts.left_out == {"item.level below 4": 1, "more than 1 of one row": 1, "reasoning empty": 1}
    assert (counts.rows, counts.items, counts.balanced) == (2, 4, True)
    with pytest.raises(pillm.DataError, match=r"t:1: the column 'reasoning' holds no list"):
        list(prompts_of(task, table_of({"question": "q", "reasoning": "text"})))


def test_ids_are_made_of_content_and_ids_that_are_given_must_be_unique(tmp_path: Path) -> None:
    one, two, three = made(tmp_path, PLAIN, {"a": "x"}, {"a": "x"}, {"a": "y"})
    assert two.id == f"{one.id}-2"
    assert {prompt.id for prompt in made(tmp_path, PLAIN, {"a": "y"}, {"a": "x"})} == {one.id, three.id}
    with pytest.raises(pillm.DataError, match="t:2: id 'x' stands already at t:1"):
        made(tmp_path, PLAIN + "id: '{{ a }}'\n", {"a": "x"}, {"a": "x"})


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        (PLAIN, {"b": 1}, "t:1: task.yaml: input: 'a' is undefined. The row has: b."),
        (PLAIN, {"a": " "}, "t:1: the 'user' message has no text"),
        (PLAIN + "where: {a: {min: 1}}\n", {"a": "many"}, "t:1: 'a' must be a number, not 'many'"),
        (PLAIN + "where: {a: {min: 1}}\n", {"a": True}, "t:1: 'a' must be a number, not True"),
        (PLAIN + "where: {a: {min: 1}}\n", {"a": "nan"}, "t:1: 'a' must be a number, not 'nan'"),
        (PLAIN + "where: {a: {min: 1}}\n", {"a": 10**400}, "t:1: 'a' must be a number"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_place(tmp_path: Path, text: str, row: JSONObject, said: str) -> None:
    with pytest.raises(pillm.DataError) as caught:
        made(tmp_path, text, row)
    assert said in str(caught.value)


def test_a_column_that_the_table_lacks_is_told_at_once(tmp_path: Path) -> None:
    task = task_of(tmp_path, PLAIN + "where: {difficulty: {min: 1}}\nkeep: [n]\n")
    assert task.columns == {"a", "difficulty", "n"}
    with pytest.raises(pillm.DataError, match=r"task\.yaml: t has no column 'difficulty'\. Did you mean 'dificulty'\?"):
        next(prompts_of(task, table_of({"a": "x"}, columns=("a", "dificulty", "n"))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "a task file is a table of keys"),
        ("name: [", "not a task file: line 1"),
        ("name: t\ninput: '{{ a'\n", "task.yaml: input, line 1"),
        ("name: t\ninput: '{{ a() }}'\n", "a template shows columns"),
        (PLAIN + "schema: nowhere\n", "no schema is called 'nowhere'"),
        (PLAIN + "schema: {type: integer}\nexamples: [{input: x, output: {}}]\n", "examples.1: the output does not satisfy"),
        (PLAIN + "schema: {type: object}\nexamples: [{input: x, output: no}]\n", "examples.1: the output does not satisfy"),
        (PLAIN + "examples: [{input: {b: 1}, output: x}]\n", "examples.1: task.yaml: input: 'a' is undefined"),
        (PLAIN + "tags: ['{{ a|nope }}']\n", "task.yaml: tags, line 1: no filter"),
        (PLAIN + "more: 1\n", "unknown key 'more'"),
    ],
)
def test_a_wrong_task_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(pillm.ConfigError, match=r"^task\.yaml: ") as caught:
        task_of(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).count("task.yaml: task.yaml") == 0


def test_a_task_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="pillm schema task"):
        load_task(tmp_path / "none.yaml")


@given(st.lists(st.fixed_dictionaries({"a": st.text(min_size=1), "b": st.text()}), min_size=1, max_size=6))
def test_any_text_in_a_row_reaches_the_prompt_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, rows: list[JSONObject]
) -> None:
    task = task_of(tmp_path_factory.mktemp("task"), "name: t\ninput: 'Q: {{ a }}{{ b }}'\n")
    prompts = list(prompts_of(task, table_of(*rows)))
    assert [prompt.text for prompt in prompts] == [f"Q: {row['a']}{row['b']}" for row in rows]
    assert len({prompt.id for prompt in prompts}) == len(rows)
