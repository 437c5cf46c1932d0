"""Tests of the assistant data set: its groups, its rows, its files and its converter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from itertools import islice
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.assistant import DATASET, ROOT, build, call, generator, prompt, read, schema_validator, tools

STREAMED = 20_000


COPIED = ("name", "area", "floor", "to", "subject", "body", "query", "near", "text", "title")


@pytest.fixture(scope="module")
def streamed() -> list[dict[str, Any]]:
    return list(islice(generator.stream(5), STREAMED))


@pytest.fixture(scope="module")
def committed() -> list[dict[str, Any]]:
    return read(DATASET / "prompts.jsonl")


@pytest.fixture(scope="module")
def handwritten() -> list[dict[str, Any]]:
    return read(DATASET / "handwritten.jsonl")


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return schema_validator()


def test_every_intent_has_at_least_thirty_groups() -> None:
    counts = Counter(group.intent for group in generator.groups())
    assert set(counts) == set(tools.TOOLS)
    assert min(counts.values()) >= 30


def test_about_half_of_the_groups_are_french() -> None:
    for intent in tools.TOOLS:
        langs = Counter(g.lang for g in generator.groups() if g.intent == intent)
        assert abs(langs["fr"] - langs["en"]) <= 2


def test_every_intent_and_language_holds_out_about_a_tenth_of_its_groups() -> None:
    held: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for group in generator.groups():
        held[group.intent, group.lang].append(generator.held_out(group.name))
    for flags in held.values():
        assert sum(flags) >= 5
        assert 0.08 < sum(flags) / len(flags) < 0.12


def test_no_two_groups_share_a_frame() -> None:
    frames = Counter((group.intent, group.lang, group.frame) for group in generator.groups())
    assert max(frames.values()) == 1


def wordings(frame: str) -> set[str]:
    """Return every way to read a frame, its slots and macros by their names."""
    if found := re.search(r"\(([^()]*)\)", frame):
        before, after = frame[: found.start()], frame[found.end() :]
        return set().union(*(wordings(before + choice + after) for choice in found.group(1).split("|")))
    plain = re.sub(r"\{=[^}]*\}|[,.?!]|:(?= )", " ", frame)
    return {" ".join(plain.lower().split())}


def test_no_wording_belongs_to_two_groups_so_none_is_both_trained_and_tested() -> None:
    owners: dict[tuple[str, str], str] = {}
    for group in generator.groups():
        for wording in wordings(group.frame):
            assert owners.setdefault((group.lang, wording), group.name) == group.name, wording


def test_held_out_groups_never_appear_in_the_train_stream() -> None:
    for row in islice(generator.stream(1, "train"), 3000):
        assert not generator.held_out(row["group"])
        assert "split" not in row


def test_the_test_stream_holds_nothing_but_held_out_groups() -> None:
    for row in islice(generator.stream(1, "test"), 2000):
        assert generator.held_out(row["group"])
        assert row["split"] == "test"


def test_a_seed_gives_the_same_stream_twice() -> None:
    first, second = generator.stream(9), generator.stream(9)
    assert list(islice(first, 200)) == list(islice(second, 200))
    assert next(generator.stream(10)) != next(generator.stream(9))


def test_the_stream_draws_every_tool_equally_often(streamed: list[dict[str, Any]]) -> None:
    counts = Counter(row["tags"][0] for row in streamed)
    share = STREAMED / len(tools.TOOLS)
    assert all(0.8 * share < n < 1.2 * share for n in counts.values())


def test_no_prompt_has_two_references(
    streamed: list[dict[str, Any]],
    committed: list[dict[str, Any]],
    handwritten: list[dict[str, Any]],
) -> None:
    seen: dict[str, str] = {}
    for row in [*streamed, *committed, *handwritten]:
        reference = row["reference"]["content"]
        assert seen.setdefault(build.normal(prompt(row)), reference) == reference, prompt(row)


def test_references_satisfy_the_schema(
    streamed: list[dict[str, Any]],
    handwritten: list[dict[str, Any]],
    validator: Draft202012Validator,
) -> None:
    # One reference per set of arguments and tool is enough: the rest differ by their text.
    shapes = {(call(r)["name"], tuple(call(r)["arguments"])): r for r in streamed}
    for row in [*shapes.values(), *handwritten]:
        validator.validate(call(row))


def test_references_are_compact_and_in_the_order_of_the_schema(
    streamed: list[dict[str, Any]], handwritten: list[dict[str, Any]]
) -> None:
    for row in [*streamed[:4000], *handwritten]:
        found = call(row)
        again = tools.arrange(found["name"], found["arguments"])
        text = json.dumps(again, ensure_ascii=False, separators=(",", ":"))
        assert row["reference"]["content"] == text


def test_copied_arguments_stand_in_the_prompt(streamed: list[dict[str, Any]], handwritten: list[dict[str, Any]]) -> None:
    for row in [*streamed, *handwritten]:
        said = " ".join(prompt(row).lower().split())
        for key, found in call(row)["arguments"].items():
            if key in COPIED:
                assert found in said, row
                assert found == found.lower().strip()


def test_prompts_have_no_stray_marks(streamed: list[dict[str, Any]]) -> None:
    for row in streamed:
        text = prompt(row)
        assert text == " ".join(text.split())
        assert not re.search(r"[{}<>()|_]| ,|\b(?:de le|de les|à le|à les|que on)\b", text), text


def test_train_rows_do_not_repeat_test_prompts(committed: list[dict[str, Any]]) -> None:
    tests = {build.normal(prompt(row)) for row in committed if "split" in row}
    train = islice(generator.stream(3, "train"), STREAMED)
    repeated = sum(build.normal(prompt(row)) in tests for row in train)
    assert repeated <= 2


def test_the_committed_file_equals_what_the_builder_writes() -> None:
    done = subprocess.run([sys.executable, str(DATASET / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_committed_prompts_are_distinct_and_numerous(committed: list[dict[str, Any]]) -> None:
    texts = {build.normal(prompt(row)) for row in committed}
    assert len(texts) == len(committed) >= 5600
    assert sum("split" in row for row in committed) >= 1000
    assert len({row["id"] for row in committed}) == len(committed)


def test_every_held_out_group_gives_as_many_test_prompts(committed: list[dict[str, Any]]) -> None:
    counts = Counter(row["group"] for row in committed if "split" in row)
    held = [group.name for group in generator.groups() if generator.held_out(group.name)]
    assert set(counts) == set(held)
    assert set(counts.values()) == {build.TEST_ROWS}


def test_every_row_carries_the_same_fields(committed: list[dict[str, Any]], handwritten: list[dict[str, Any]]) -> None:
    fields = ["id", "messages", "schema", "reference", "group", "language", "tags", "source"]
    for row in [*committed, *handwritten]:
        assert [key for key in row if key != "split"] == [*fields, "license"]
        assert row["schema"] == "assistant"
        assert [turn["role"] for turn in row["messages"]] == ["user"]
        assert row["tags"][0] == call(row)["name"]
        assert row["language"] == f"{row['tags'][1]}-CA"
        assert row["tags"][2] in generator.REGISTERS


def test_handwritten_covers_every_tool_in_both_languages(handwritten: list[dict[str, Any]]) -> None:
    counts = Counter((row["tags"][0], row["tags"][1]) for row in handwritten)
    assert len(handwritten) >= 240
    assert len({prompt(row) for row in handwritten}) == len(handwritten)
    assert all(counts[tool, lang] >= 6 for tool in tools.TOOLS for lang in ("fr", "en"))
    assert all(row["reference"]["origin"] == "handwritten" for row in handwritten)


def test_handwritten_shares_no_five_gram_with_templates(
    committed: list[dict[str, Any]], handwritten: list[dict[str, Any]]
) -> None:
    taken = set().union(*(build.five_grams(prompt(row)) for row in committed))
    for group in generator.groups():
        # A slot stands for words of its own: no run may cross it.
        for piece in re.split(r"\{[^}]*\}|<\w+>|[()|]", group.frame):
            taken |= build.five_grams(piece)
    for row in handwritten:
        assert not build.five_grams(prompt(row)) & taken, prompt(row)


def test_the_schemas_use_only_what_grammars_can_express() -> None:
    known = {"$schema", "title", "oneOf", "$defs", "$ref", "type", "properties", "required"}
    known |= {"additionalProperties", "const", "enum", "minimum", "maximum", "pattern"}
    for subset, names in tools.SUBSETS.items():
        schema = json.loads((ROOT / "schemas" / f"{subset}.schema.json").read_text("utf-8"))
        assert list(schema["$defs"]) == names
        assert schema["oneOf"] == [{"$ref": f"#/$defs/{name}"} for name in names]
        for definition in schema["$defs"].values():
            arguments = definition["properties"]["arguments"]
            found = {*schema, *definition, *arguments}
            found |= {key for value in arguments["properties"].values() for key in value}
            assert found <= known


def test_required_arguments_come_first() -> None:
    # A grammar made from a schema writes them first, whatever the order of the properties.
    for properties, required in tools.TOOLS.values():
        assert list(properties)[: len(required)] == required


def test_the_schema_refuses_what_no_tool_takes(validator: Draft202012Validator) -> None:
    for wrong in (
        {"name": "HassLightSet", "arguments": {"brightness": 101}},
        {"name": "HassLightSet", "arguments": {"colour": "red"}},
        {"name": "HassFly", "arguments": {}},
        {"name": "create_event", "arguments": {"title": "x", "time": "25:00"}},
        {"name": "create_event", "arguments": {"date": "today"}},
    ):
        assert not validator.is_valid(wrong)


def test_the_generator_makes_five_thousand_rows_a_second() -> None:
    rows = generator.stream(2)
    next(rows)
    best = 0.0
    for _ in range(3):
        begun = time.process_time()
        list(islice(rows, 2000))
        best = max(best, 2000 / (time.process_time() - begun))
    assert best >= 5000
