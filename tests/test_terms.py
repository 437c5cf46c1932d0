"""Under what terms a student may be passed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.cards.terms import Part, judge, known_terms, parts_of

FREE = (Part(role="base", name="b", license="MIT"), Part(role="teacher", name="t", license="apache-2.0"),
        Part(role="data", name="d", license="CC0-1.0", rows=4))  # fmt: skip


def test_free_parts_may_be_published_under_the_bases_licence() -> None:
    verdict = judge(FREE, None)
    assert verdict.publishable
    assert verdict.license == "MIT"
    assert verdict.sentence == (
        "May be published under MIT. Made from base b (MIT), teacher t (apache-2.0) and data d (CC0-1.0)."
    )


def test_what_nobody_says_is_not_resolved() -> None:
    verdict = judge((*FREE[:1], Part(role="teacher", name="gateway-7"), *FREE[2:]), "MIT")
    assert not verdict.publishable
    assert verdict.reasons == (
        "the terms of the teacher gateway-7 are not known: set terms.teacher in the recipe, or export with "
        "--terms teacher=LICENCE",
    )


def test_rows_without_a_licence_are_counted_and_a_person_can_say_it() -> None:
    lineage = {"base": {"name": "b", "license": "mit"}, "data": {"sources": {"web": {"": 3, "CC0-1.0": 2}}}}
    unsaid = judge(parts_of(lineage), None)
    assert not unsaid.publishable
    assert "data web (3 rows) are not known" in unsaid.reasons[0]
    said = parts_of(lineage, {"data": "CC-BY-4.0"})
    assert [(part.license, part.rows, part.said_by) for part in said if part.role == "data"] == [
        ("CC-BY-4.0", 3, "recipe"), ("CC0-1.0", 2, "rows"),
    ]  # fmt: skip
    verdict = judge(said, None)
    assert verdict.publishable
    assert "Credit is owed to web." in verdict.sentence


@pytest.mark.parametrize(
    ("license_", "student", "fine"),
    [
        ("cc-by-sa-4.0", "cc-by-sa-4.0", True),
        ("cc-by-sa-4.0", "MIT", False),
        ("gpl-3.0", None, False),
        ("cc-by-nc-4.0", "MIT", False),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", True),
        ("llama3.2", "llama3.2", True),
        ("llama3.2", "apache-2.0", False),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", False),
        ("my-own-terms", "my-own-terms", False),
    ],
)
def test_a_licence_that_asks_something_is_kept_or_stands_against_it(license_: str, student: str | None, fine: bool) -> None:
    assert judge((Part(role="base", name="b", license=license_),), student).publishable is fine


def test_what_a_person_has_read_and_keeps_stands_against_nothing_and_is_said() -> None:
    parts = parts_of({"teacher": {"name": "gpt-5-mini"}, "base": {"name": "b", "license": "mit"}})
    refused = judge(parts, "MIT")
    assert not refused.publishable
    assert "compete with OpenAI" in refused.reasons[0]
    verdict = judge(parts, "MIT", ["teacher"])
    assert verdict.publishable
    assert "Its publisher says that the terms of its teacher are kept." in verdict.sentence


def test_a_student_of_unknown_making_is_not_published() -> None:
    verdict = judge((), "MIT")
    assert verdict.reasons == ("nobody says what it was made from: it carries no lineage",)


@pytest.mark.parametrize(
    ("model", "license_"),
    [
        ("gpt-4o", "openai-terms"), ("openai/gpt-oss-20b", "apache-2.0"), ("Qwen/Qwen2.5-3B-Instruct", "qwen-research"),
        ("Qwen/Qwen2.5-7B-Instruct", "apache-2.0"), ("meta-llama/Llama-3.2-1B", "llama3.2"), ("nano-teacher", None),
    ],
)  # fmt: skip
def test_well_known_models_bring_their_terms(model: str, license_: str | None) -> None:
    assert known_terms(model).get("license") == license_


def test_a_person_outweighs_a_card_and_a_card_outweighs_what_is_known() -> None:
    said = {"name": "google/gemma-3-1b-it", "license": None}
    teacher = parts_of({"teacher": said})[0]
    assert (teacher.license, teacher.said_by) == ("gemma", "known terms")
    teacher = parts_of({"teacher": {**said, "license": "mit"}})[0]
    assert (teacher.license, teacher.said_by) == ("mit", "model card")
    teacher = parts_of({"teacher": {**said, "license": "mit"}}, {"teacher": "isc"})[0]
    assert (teacher.license, teacher.said_by) == ("isc", "recipe")


_LICENSES = st.sampled_from([None, "mit", "cc-by-4.0", "gpl-3.0", "cc-by-nc-4.0", "gemma", "x", "cc-by-nd-4.0"])


@given(
    st.lists(st.builds(Part, role=st.sampled_from(["base", "teacher", "data"]), name=st.just("n"), license=_LICENSES)),
    _LICENSES,
)
def test_a_verdict_has_reasons_exactly_where_it_is_a_refusal(parts: list[Part], student: str | None) -> None:
    verdict = judge(parts, student)
    assert verdict.publishable is not bool(verdict.reasons)
    if verdict.publishable:
        assert verdict.license
        assert all(part.license for part in parts)
        assert verdict.license in verdict.sentence
