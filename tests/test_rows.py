"""Rows become prompts and examples and come back; what is wrong is named with file and line."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm import Answer, DataError, Example, Prompt, Reference, Usage, read_examples, read_prompts
from pillm.jsonl import read_lines, write_rows
from pillm.rows import FIELDS, example_from_row, example_to_row, given_example, named_schema, prompt_from_row, prompt_to_row

USER = {"role": "user", "content": "Salut"}
SAID = {"role": "assistant", "content": "Allô"}


def write(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
names = st.none() | text
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | text, lambda v: st.lists(v) | st.dictionaries(text, v), max_leaves=5
)
objects = st.dictionaries(text, plain, max_size=3)
prompts = st.builds(
    Prompt,
    id=text,
    messages=st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": text}), max_size=3).map(
        lambda messages: (*messages, USER)
    ),
    schema=st.none() | objects,
    tools=st.lists(objects, max_size=2).map(tuple),
    reference=st.none() | st.builds(Reference, message=text.map(lambda t: {"role": "assistant", "content": t}), origin=text),
    rejected=st.none() | text.map(lambda t: {"role": "assistant", "content": t}),
    split=names, group=names, source=names, license=names, language=names,
    tags=st.lists(text, max_size=2).map(tuple),
    parents=st.lists(text, max_size=2).map(tuple),
    metadata=st.dictionaries(text.filter(lambda name: name not in FIELDS), plain, max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(prompts)
def test_a_prompt_survives_its_row(tmp_path_factory, prompt):
    path = tmp_path_factory.mktemp("rows") / "p.jsonl"
    write_rows(path, [prompt_to_row(prompt)])
    assert read_prompts(path) == [prompt]


@settings(deadline=None)
@given(prompts, text, st.none() | st.builds(Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9)))
def test_an_example_survives_its_row(prompt, said, usage):
    example = Example(
        prompt=prompt, source="teacher", key="v1:0",
        answer=Answer(said, finish_reason="stop", usage=usage, model="m", reasoning="hum", tool_calls=({"id": "1"},)),
    )  # fmt: skip
    again = example_from_row(json.loads(json.dumps(example_to_row(example))))
    assert again.answer == example.answer
    assert (again.source, again.key) == ("teacher", "v1:0")
    assert prompt_to_row(again.prompt) == prompt_to_row(prompt)
    assert again.rejected == example.rejected


def test_some_json_wanted_stays_wanted():
    prompt = prompt_from_row({"user": "Salut", "requires_json": True})
    assert prompt_from_row(prompt_to_row(prompt)).schema == {}


def test_unknown_keys_survive_in_the_metadata():
    prompt = prompt_from_row({"messages": [USER], "goal": "greet", "metadata": {"a": 1}})
    assert prompt.metadata == {"a": 1, "goal": "greet"}


def test_a_row_that_arrives_answered_has_its_reference_and_its_answer():
    prompt = prompt_from_row({"messages": [USER, SAID]})
    assert (prompt.messages, prompt.given) == ((USER,), SAID)
    assert prompt.reference == Reference(message=SAID, origin="given")


def test_relabelling_forgets_the_answer_and_keeps_the_reference():
    prompt = prompt_from_row({"messages": [USER, SAID]}, relabel=True)
    assert prompt.given is None
    assert prompt.reference.content == "Allô"


def test_a_stated_reference_is_the_truth_whatever_the_answer():
    prompt = prompt_from_row({"messages": [USER, SAID], "reference": {"content": "Bonjour", "origin": "hand"}})
    assert (prompt.reference.content, prompt.reference.origin, prompt.given) == ("Bonjour", "hand", SAID)
    assert prompt_from_row({"messages": [USER], "reference": "Bonjour"}).reference.content == "Bonjour"


def test_a_teachers_answer_is_never_read_back_as_the_truth(tmp_path):
    row = example_to_row(Example(prompt=Prompt(id="a", messages=(USER,)), answer=Answer("Allô")))
    assert read_examples(write(tmp_path / "l.jsonl", row))[0].prompt.reference is None


TAUGHT = {"id": "a", "messages": [USER, SAID], "provenance": {"source": "teacher", "key": "v1:0", "model": "m"}}


def test_a_prompt_that_a_teacher_answered_knows_so_and_has_no_truth():
    prompt = prompt_from_row(TAUGHT)
    assert (prompt.given, prompt.provenance, prompt.reference) == (SAID, TAUGHT["provenance"], None)
    assert prompt.teacher_answer == SAID
    assert prompt_from_row({"messages": [USER, SAID]}).teacher_answer is None
    stated = prompt_from_row({**TAUGHT, "reference": "Bonjour"})
    assert stated.reference.content == "Bonjour", "a truth that stands apart stays the truth"


def test_relabelling_forgets_a_teachers_answer_and_whose_it_was():
    prompt = prompt_from_row(TAUGHT, relabel=True)
    assert (prompt.given, prompt.provenance, prompt.reference, prompt.teacher_answer) == (None, {}, None, None)


def test_a_prompt_that_arrived_answered_is_the_example_that_it_was():
    assert given_example(prompt_from_row(TAUGHT)) == example_from_row(TAUGHT)
    made = given_example(prompt_from_row({"messages": [USER, SAID]}))
    assert (made.source, made.key, made.answer.content) == ("given", "", "Allô")


def test_a_row_without_an_id_is_named_by_its_content_wherever_it_stands(tmp_path):
    path = write(tmp_path / "p.jsonl", {"user": "a"}, {"user": "b", "id": 12}, {"user": "c", "id": ""}, {"user": "a"})
    first, second, third, twin = read_prompts(path)
    assert (second.id, twin.id) == ("12", f"{first.id}-2")
    assert third.id.startswith("row-")
    moved = write(tmp_path / "q.jsonl", {"user": "c"}, {"user": "a"})
    assert [prompt.id for prompt in read_prompts(moved)] == [third.id, first.id]
    assert [prompt.where for prompt in read_prompts(path)][:2] == ["p.jsonl:1", "p.jsonl:2"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"id": "x"}, "'user' is missing"),
        ({"messages": []}, "'messages' must be a list"),
        ({"messages": "a"}, "'messages' must be a list"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "'role' out of system"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "'role' out of system"),
        ({"messages": ["a"]}, "'role' out of system"),
        ({"messages": [{"role": "user", "content": " "}]}, "no text in 'content'"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "no text in 'content'"),
        ({"messages": [USER, {"role": "assistant", "content": 5, "tool_calls": [{}]}]}, "no text in 'content'"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": "f"}]}, "'tool_calls' must be a list of objects"),
        ({"messages": [{"role": "system", "content": "a"}]}, "no 'user' message"),
        ({"messages": [SAID]}, "no 'user' message"),
        ({"user": "a", "schema": 3}, "'schema' must be"),
        ({"user": "a", "schema": "nowhere"}, "no schema is called 'nowhere'"),
        ({"user": "a", "schema": "../../etc/passwd"}, "no schema is called"),
        ({"user": "a", "tools": {}, "tags": 3}, "'tags' must be a list of texts"),
        ({"user": "a", "tools": [3]}, "'tools' must be a list of objects"),
        ({"user": "a", "id": True}, "'id' must be text"),
        ({"user": "a", "split": []}, "'split' must be text"),
        ({"user": "a", "metadata": [1]}, "'metadata' must be an object"),
        ({"user": "a", "assistant": "b", "provenance": "me"}, "'provenance' must be an object"),
        ({"user": "a", "reference": 3}, "'reference' must be text"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(tmp_path, row, sentence):
    path = write(tmp_path / "p.jsonl", {"user": "fine"}, row)
    with pytest.raises(DataError, match=rf"^p\.jsonl:2: .*{sentence}"):
        read_prompts(path)


def test_two_rows_of_one_id_are_refused_with_both_places(tmp_path):
    path = write(tmp_path / "p.jsonl", {"user": "a", "id": "x"}, {"user": "b"}, {"user": "c", "id": "x"})
    with pytest.raises(DataError, match=r"p\.jsonl:3: id 'x' stands already at p\.jsonl:1"):
        read_prompts(path)


def test_a_row_without_an_answer_is_no_example(tmp_path):
    with pytest.raises(DataError, match=r"l\.jsonl:1: .*Label it first"):
        read_examples(write(tmp_path / "l.jsonl", {"user": "a"}))


@pytest.fixture
def schemas(tmp_path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "mine.schema.json").write_text('{"type": "object"}')
    return tmp_path


def test_a_schema_is_found_by_its_name_beside_the_rows_and_shared(schemas):
    path = write(schemas / "p.jsonl", {"user": "a", "schema": "mine"}, {"user": "b", "schema": "mine"})
    first, second = read_prompts(path)
    assert first.schema == {"type": "object"}
    assert first.schema_name == "mine"
    assert first.schema is second.schema


def test_a_row_that_goes_elsewhere_takes_its_schema_along(schemas):
    [prompt] = read_prompts(write(schemas / "p.jsonl", {"user": "a", "schema": "mine"}))
    assert prompt_to_row(prompt)["schema"] == {"type": "object"}


def test_a_schema_file_that_changes_is_read_again(schemas):
    named_schema("mine", schemas)
    time.sleep(0.01)
    (schemas / "schemas" / "mine.schema.json").write_text('{"type": "array"}')
    assert named_schema("mine", schemas) == {"type": "array"}


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1, "a": 2}'])
def test_a_schema_file_that_is_none_is_named(schemas, content):
    (schemas / "schemas" / "bad.schema.json").write_text(content)
    with pytest.raises(DataError, match=r"bad\.schema\.json is not a JSON Schema"):
        named_schema("bad", schemas)


def test_ten_thousand_rows_are_read_in_little_time(tmp_path):
    path = tmp_path / "p.jsonl"
    write_rows(path, ({"id": str(n), "messages": [USER], "tags": ["a"]} for n in range(10_000)))
    began = time.perf_counter()
    assert len(read_prompts(path)) == 10_000
    assert time.perf_counter() - began < 30
    assert sum(1 for _ in read_lines(path)) == 10_000
