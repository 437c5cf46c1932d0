"""The rows that a choice is scored on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pillm_llamacpp_tiny as tiny
import pytest
from pillm_llamacpp.choosing.scoring import FEWEST_ROWS, MOST_ROWS, ROOM, THOUGHT, Task, score, scored_rows, task_of
from pillm_llamacpp.measuring.texts import texts_of

import pillm


def probe(name: str, answer: str = '{"ok": true}', **more: str) -> pillm.Probe:
    messages = ({"role": "user", "content": name}, {"role": "assistant", "content": answer})
    return pillm.Probe(id=name, messages=messages, text=tiny.render(list(messages)), ids=(1,), **more)


def test_only_validation_rows_with_an_answer_are_scored() -> None:
    seen, held = probe("seen"), probe("held")
    asked = pillm.Probe(id="asked", messages=({"role": "user", "content": "?"},), text="asked", ids=(1,))
    rows = scored_rows([seen, held, asked], {seen.text, "asked"})
    assert [row.id for row in rows] == ["seen"]
    assert rows[0].messages == ({"role": "user", "content": "seen"},)
    assert rows[0].reference is not None
    assert rows[0].reference.content == '{"ok": true}'


def test_json_is_compared_as_a_value_and_text_as_text() -> None:
    exact = pillm.metric("exact")
    rows = scored_rows([probe("json"), probe("text", "yes")], {probe("json").text, probe("text", "yes").text})
    assert exact.score(rows[0], pillm.Answer('{ "ok":true }')) == 1
    assert exact.score(rows[1], pillm.Answer("yes ")) == 1
    assert exact.score(rows[1], pillm.Answer("no")) == 0


def test_no_more_rows_than_are_worth_the_time() -> None:
    probes = [probe(str(number)) for number in range(MOST_ROWS + 5)]
    assert len(scored_rows(probes, {one.text for one in probes})) == MOST_ROWS


def test_a_text_that_occurs_twice_is_scored_once() -> None:
    assert len(scored_rows([probe("a"), probe("a")], {probe("a").text})) == 1


def test_rows_are_taken_from_the_whole_side_and_not_from_its_beginning() -> None:
    probes = [probe(str(number)) for number in range(100)]
    found = scored_rows(probes, {one.text for one in probes}, 10)
    assert [int(row.id) for row in found] == list(range(0, 100, 10))


def student(folder: Path, probes: list[pillm.Probe], *, span: int | None = 5, template: str = "") -> pillm.Checkpoint:
    """Write a folder whose validation rows are these."""
    lines = [{"id": one.id, "messages": one.messages, "text": one.text, "ids": one.ids} for one in probes]
    (folder / "probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [{"text": one.text, "split": "validation", "answer": [10, 10 + span] if span else None} for one in probes]
    (folder / "calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pillm.Contract().with_student(template=template, special_tokens={}, stop_tokens=()).save(folder / "contract.json")
    return pillm.Checkpoint(path=folder)


def task(
    folder: Path, probes: list[pillm.Probe], *, model_bytes: int = 10_000_000, most: int | None = None, **more: Any
) -> Task:
    made = student(folder, probes, **more)
    return task_of(made, texts_of(made), (pillm.metric("exact"),), model_bytes, most)


def test_answers_have_room_for_twice_the_longest_reference_and_a_thought(tmp_path: Path) -> None:
    assert task(tmp_path, [probe("a")]).max_tokens == 2 * 5 + ROOM
    assert task(tmp_path, [probe("a")], template="{{ '<think>' }}").max_tokens == 2 * 5 + THOUGHT
    # nobody counted the tokens of "🌞é": each of its six bytes may be one
    (found,) = scored_rows([probe("b", "🌞é")], {probe("b", "🌞é").text})
    assert found.reference is not None
    assert task(tmp_path, [probe("b", "🌞é")], span=None).max_tokens >= 2 * len("🌞é".encode()) + ROOM
    assert task(tmp_path, [probe("c", "<think>hm</think> yes")]).max_tokens == 2 * 5 + THOUGHT


def test_a_large_model_is_asked_fewer_rows_but_fifty_at_least(tmp_path: Path) -> None:
    probes = [probe(str(number)) for number in range(300)]
    assert len(task(tmp_path, probes, span=40).rows) == MOST_ROWS
    assert len(task(tmp_path, probes, span=40, model_bytes=14_000_000_000).rows) == 51
    assert len(task(tmp_path, probes, span=400, model_bytes=14_000_000_000).rows) == FEWEST_ROWS
    assert len(task(tmp_path, probes, most=7).rows) == 7


def test_a_metric_that_needs_the_rows_schema_is_not_scored(tmp_path: Path) -> None:
    made = student(tmp_path, [probe("a")])
    metrics = tuple(pillm.metric(name) for name in ("schema", "fields", "exact"))
    assert [metric.name for metric in task_of(made, texts_of(made), metrics, 1000, None).metrics] == ["fields", "exact"]


def test_a_file_is_scored_by_what_it_answers(gguf: pillm.ModelFile) -> None:
    metrics = (pillm.metric("exact"), pillm.metric("json"))
    rows = scored_rows([probe("a"), probe("b", "yes")], {probe("a").text, probe("b", "yes").text})
    found = score(gguf.path, Task(rows=tuple(rows), metrics=metrics, max_tokens=90), threads=1)
    assert found.figures["exact"].mean == 0, "random weights answer nothing right"
    assert (found.figures["exact"].rows, found.figures["json"].rows) == (2, 1)
    assert found.rows["exact"] == {"a": 0.0, "b": 0.0}
    assert found.main(metrics) == "exact"
    with pillm.runner("local", max_tokens=90).open(gguf) as session:
        request = pillm.Request(key="k", prompt=rows[1], messages=rows[1].messages)
        ((_, answer),) = session.answer(iter([request]))
    assert isinstance(answer, pillm.Answer)
    said = scored_rows([probe("b", answer.content)], {probe("b", answer.content).text})
    again = score(gguf.path, Task(rows=tuple(said), metrics=metrics, max_tokens=90), threads=1)
    assert again.cut == (answer.finish_reason == "length")
    assert again.figures["exact"].mean == pytest.approx(1)


def test_answers_that_are_cut_are_counted(gguf: pillm.ModelFile) -> None:
    rows = tuple(scored_rows([probe("a"), probe("b", "yes")], {probe("a").text, probe("b", "yes").text}))
    found = score(gguf.path, Task(rows=rows, metrics=(pillm.metric("exact"),), max_tokens=1), threads=1)
    assert found.cut == 2
