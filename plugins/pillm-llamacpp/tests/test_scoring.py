"""The rows that a choice is scored on."""

from __future__ import annotations

import pillm_llamacpp_tiny as tiny
import pytest
from pillm_llamacpp.choosing.scoring import MOST_ROWS, score, scored_rows

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


def test_a_file_is_scored_by_what_it_answers(gguf: pillm.ModelFile) -> None:
    rows = scored_rows([probe("a"), probe("b", "yes")], {probe("a").text, probe("b", "yes").text})
    assert score(gguf.path, rows, threads=1) == 0, "random weights answer nothing right"
    with pillm.runner("local", max_tokens=90).open(gguf) as session:
        request = pillm.Request(key="k", prompt=rows[1], messages=rows[1].messages)
        ((_, answer),) = session.answer(iter([request]))
    assert isinstance(answer, pillm.Answer)
    said = scored_rows([probe("b", answer.content)], {probe("b", answer.content).text})
    if answer.finish_reason == "stop":
        assert score(gguf.path, said, threads=1) == pytest.approx(1)
