"""Expansion: a teacher is asked for prompts like the seeds, paid once, and only what is new is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.expansion import Expansion, expand
from pillm.stages.labelling import Labelling
from pillm.testing import Call, EchoTeacher, FakeOpenAIServer, Reply

SEEDS = [
    pillm.Prompt(
        id="light", language="fr-CA", tags=("light",), schema={"type": "object"}, license="CC0-1.0",
        messages=({"role": "system", "content": "Sois bref."}, {"role": "user", "content": "allume la lumière du salon"}),
        reference=pillm.Reference(message={"role": "assistant", "content": "{}"}), metadata={"n": 1},
        rejected={"role": "assistant", "content": "Bien sûr !"},
    ),
    pillm.Prompt(id="time", messages=({"role": "user", "content": "what time is it in Paris"},), group="clock", language="en"),
]  # fmt: skip
SAID = {
    "lumière": ["Allume la lumière du salon !", "éteins le four du chalet", "Éteins le four du chalet.", "  ", "monte le son"],
    "Paris": ["what time is it now in Tokyo tonight", "is it late in Rome", "is it late over in Rome", "one too many"],
}  # fmt: skip


def scripted(seeds: list[pillm.Prompt], said: dict[str, Any], settings: Expansion) -> EchoTeacher:
    """Return a teacher that answers the requests of these seeds."""
    from pillm.expansion import _request

    requests = {seed.id: _request(seed, seed.id, settings).text for seed in seeds}
    answers = [next(text for word, text in said.items() if word in seed.text) for seed in seeds]
    texts = [answer if isinstance(answer, str) else json.dumps({"prompts": answer}) for answer in answers]
    return EchoTeacher(script=dict(zip(requests.values(), texts, strict=True)))


def test_new_prompts_keep_what_their_seed_has_and_what_was_said_already_is_left_out(tmp_path: Path) -> None:
    settings = Expansion(n=5)
    made = expand(SEEDS, scripted(SEEDS, SAID, settings), tmp_path / "out", settings=settings)
    rows = pillm.read_prompts(made.path)
    assert [row.text for row in rows] == [
        "éteins le four du chalet", "monte le son",
        "what time is it now in Tokyo tonight", "is it late in Rome", "one too many",
    ]  # fmt: skip
    assert (made.seeds, made.unanswered, made.texts, made.new) == (2, 0, 9, 5)
    assert made.left_out == {"equal": 2, "empty": 1, "near": 1}
    assert made.balanced
    first, fourth = rows[0], rows[3]
    assert first.messages[0] == {"role": "system", "content": "Sois bref."}
    assert (first.parents, first.group, first.language, first.tags, first.schema, first.license) == (
        ("light",), "light", "fr-CA", ("light",), {"type": "object"}, "CC0-1.0",
    )  # fmt: skip
    assert (first.reference, first.given, first.metadata, first.source) == (None, None, {}, "expanded by echo-1")
    assert first.rejected is None, "it answered another prompt"
    assert (fourth.parents, fourth.group) == (("time",), "clock")
    assert len({row.id for row in rows}) == len(rows)
    sides = pillm.split([*SEEDS, *rows], test=1)
    where = [name for name, side in sides.items() for row in side if (row.group or row.id) == "light"]
    assert (len(where), len(set(where))) == (3, 1), "a seed and its offspring stay together"


def test_more_texts_than_asked_for_are_surplus(tmp_path: Path) -> None:
    settings = Expansion(n=2)
    made = expand(SEEDS[1:], scripted(SEEDS, SAID, settings), tmp_path / "out", settings=settings)
    assert (made.texts, made.new, made.left_out) == (4, 2, {"surplus": 2})


def test_near_texts_are_kept_where_only_equal_ones_are_to_go(tmp_path: Path) -> None:
    settings = Expansion(alike=1)
    made = expand(SEEDS[1:], scripted(SEEDS, SAID, settings), tmp_path / "out", settings=settings)
    assert (made.new, made.left_out) == (4, {})


def test_the_seeds_are_written_too_where_they_are_wanted(tmp_path: Path) -> None:
    settings = Expansion(with_seeds=True)
    made = expand(SEEDS, scripted(SEEDS, SAID, settings), tmp_path / "out", settings=settings)
    rows = pillm.read_prompts(made.path)
    assert [row.id for row in rows[:2]] == ["light", "time"]
    assert len(rows) == made.new + 2


def served(said: list[list[str]]) -> Any:
    """Return what a server answers: one list after the other."""
    waiting = iter(said)

    def respond(call: Call) -> Reply:
        return Reply.text(json.dumps({"prompts": next(waiting)}))

    return respond


def test_nothing_is_paid_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "openai")
    with FakeOpenAIServer(respond=served([["one more", "and another"], ["a third one of them"]])) as server:
        teacher = pillm.teacher("openai", model="m", base_url=server.base_url, concurrency=1)
        first = expand(SEEDS[:1], teacher, tmp_path / "out")
        again = expand(SEEDS[:1], teacher, tmp_path / "out")
        assert (first.new, len(server.calls)) == (2, 1)
        assert again == first
        more = expand(SEEDS, teacher, tmp_path / "out")
        assert (more.new, len(server.calls)) == (3, 2), "a further seed costs one call"
        body = server.calls[1].body
    assert "what time is it in Paris" in body["messages"][0]["content"]
    assert "Write 5 other requests" in body["messages"][0]["content"]


def test_the_request_is_in_the_language_of_the_seed_or_as_the_template_says(tmp_path: Path) -> None:
    from pillm.expansion import _request

    french, english = (_request(seed, "x", Expansion(n=3)).text for seed in SEEDS)
    assert "Écris 3 autres demandes" in french
    assert "français (fr-CA)." in french
    assert "Write 3 other requests" in english
    own = _request(SEEDS[0], "x", Expansion(template="{{ n }} like {{ seed }} ({{ language }}) for {{ system }}"))
    assert own.text == "5 like allume la lumière du salon (fr-CA) for Sois bref."
    with pytest.raises(pillm.DataError, match="'word' is undefined"):
        _request(SEEDS[0], "x", Expansion(template="{{ word }}"))


def test_an_answer_that_holds_no_prompts_is_counted_and_the_others_count(tmp_path: Path) -> None:
    settings = Expansion()
    teacher = scripted(SEEDS, {"lumière": "I would rather not.", "Paris": ["is it late in Rome"]}, settings)
    made = expand(SEEDS, teacher, tmp_path / "out", settings=settings)
    assert (made.unanswered, made.new) == (1, 1)


def test_where_nothing_new_comes_it_is_said(tmp_path: Path) -> None:
    settings = Expansion()
    teacher = scripted(SEEDS[:1], {"lumière": ["allume la lumière du salon"]}, settings)
    with pytest.raises(pillm.BackendError, match=r"nothing new came of 1 seeds \(1 equal\)"):
        expand(SEEDS[:1], teacher, tmp_path / "out", settings=settings)
    assert not (tmp_path / "out" / "prompts.jsonl").exists()


def test_a_file_that_it_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("mine", "utf-8")
    with pytest.raises(pillm.ConfigError, match="was not made by an expansion"):
        expand(SEEDS, EchoTeacher(), tmp_path)
    assert (tmp_path / "prompts.jsonl").read_text("utf-8") == "mine"


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 51}, {"alike": 0}, {"alike": 1.1}])
def test_settings_that_mean_nothing_are_refused_before_anything_is_asked(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(pillm.ConfigError):
        expand(SEEDS, EchoTeacher(), tmp_path / "out", settings=Expansion(**wrong))
    assert not (tmp_path / "out").exists()


def test_two_seeds_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="two seeds have one id"):
        expand([SEEDS[0], SEEDS[0]], EchoTeacher(), tmp_path / "out")


def test_an_interrupted_expansion_goes_on(tmp_path: Path) -> None:
    settings = Expansion()
    some = scripted(SEEDS, SAID, settings).model_copy(update={"fails": ()})
    limited = Expansion(labelling=Labelling(limit=1))
    first = expand(SEEDS, some, tmp_path / "out", settings=limited)
    assert (first.unanswered, first.new) == (1, 2)
    assert expand(SEEDS, some, tmp_path / "out", settings=settings).new == 5
