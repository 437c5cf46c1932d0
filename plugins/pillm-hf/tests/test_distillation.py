"""The option `distill`: from text and from recipes, and what nothing would come of is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_hf import Full, HFTeacher, LoRA
from pillm_hf.rows.opening import load_chat

import pillm
from pillm.options import parse_assignments


def test_it_comes_from_text_and_from_a_table() -> None:
    told = parse_assignments(["distill.weight=0.25", "distill.divergence=jsd", "distill.k=16"])
    for trainer in ("lora", "dora", "qlora", "full"):
        made = pillm.trainer(trainer, base="x", **told)
        assert made == pillm.trainer(trainer, base="x", distill={"weight": 0.25, "divergence": "jsd", "k": 16})
        assert (made.distill.source, made.distill.weight, made.distill.k) == ("labels", 0.25, 16)  # type: ignore[attr-defined]
        assert pillm.trainer(trainer, base="x", distill="none").distill is None  # type: ignore[attr-defined]
        spelt = {name: value for name, value in made.options().items() if name != "use"}
        assert pillm.trainer(trainer, **spelt) == made


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"weigth": 1}, r"option 'distill\.weigth'"),
        ({"weight": 1.5}, r"option 'distill\.weight'"),
        ({"weight": 0}, r"option 'distill\.weight'.*greater than 0"),
        ({"beta": 0.3}, "beta only counts with divergence=jsd"),
        ({"draws": 8}, "draws need a teacher at hand"),
        ({"source": "teacher", "draws": 8, "temperature": 2}, "draws serve forward_kl at temperature 1 alone"),
        ({"source": "teacher", "draws": 8, "divergence": "reverse_kl"}, "draws serve forward_kl at temperature 1 alone"),
        ({"source": "student", "k": 8}, "of source=student none is kept"),
        ({"max_new_tokens": 9}, "max_new_tokens only count with source=student"),
        ({"source": "teacher", "on_policy_share": 0.1}, "on_policy_share only count with source=student"),
        ({"revision": "main"}, "Name the teacher too"),
        ({"teacher": "x"}, "labels carry their distributions"),
        ({"source": "student", "cross_tokenizer": True}, "do not go with it"),
        ({"cross_tokenizer": True, "temperature": 2}, "do not go with it"),
    ],
)
def test_what_nothing_would_come_of_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(pillm.ConfigError, match=reason):
        pillm.trainer("lora", base="x", distill=options)


def test_several_processes_do_not_distil() -> None:
    with pytest.raises(pillm.ConfigError, match="distill learns in one process"):
        pillm.trainer("lora", base="x", launcher={"processes": 2}, distill={})


def test_a_trimmed_vocabulary_has_another_tokenizer() -> None:
    with pytest.raises(pillm.ConfigError, match="trim_vocabulary gives the student another tokenizer"):
        pillm.trainer("full", base="x", trim_vocabulary=True, distill={})


def test_the_identity_follows_what_is_distilled_and_the_teachers_content(base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))

    def identity(**options: Any) -> str:
        return json.dumps(LoRA(base=str(base), **options).identity(), sort_keys=True)

    assert "distill" not in identity()
    assert "weight" not in identity(distill={})
    assert len({identity(), identity(distill={}), identity(distill={"weight": 0.1}), identity(distill={"k": 4})}) == 4
    one, other = ({"source": "teacher", "teacher": str(folder)} for folder in (base, copy))
    assert identity(distill=one) == identity(distill=other)


def test_a_teacher_that_is_not_there_is_found_out_at_once(base: Path) -> None:
    with pytest.raises(pillm.DataError, match="no model 'nowhere'"):
        Full(base=str(base), distill={"source": "teacher", "teacher": "nowhere"}).check()
    Full(base=str(base), distill={"source": "teacher", "teacher": str(base)}).check()


class Distant(pillm.Teacher):
    """Answers from elsewhere."""

    name = "distant"
    logprobs: int = 0

    def answer(self, requests: Any) -> Any:
        raise AssertionError


def test_a_run_hears_what_its_teacher_cannot_give_before_the_teacher_is_paid(base: Path) -> None:
    near, far = HFTeacher(model=str(base)), Distant()
    labels, teacher = ({"source": name} for name in ("labels", "teacher"))
    for silent in (near, far):
        with pytest.raises(pillm.ConfigError, match="the teacher's option logprobs is 0"):
            LoRA(base=str(base), distill=labels).check_teacher(silent)
    LoRA(base=str(base), distill=labels).check_teacher(near.model_copy(update={"logprobs": 4}))
    LoRA(base=str(base), distill=labels).check_teacher(far.model_copy(update={"logprobs": 4}))
    with pytest.raises(pillm.ConfigError, match=r"source=teacher, and there is no teacher `hf`.*Set distill\.teacher"):
        LoRA(base=str(base), distill=teacher).check_teacher(far)
    with pytest.raises(pillm.ConfigError, match="cross_tokenizer needs the teacher's tokenizer"):
        LoRA(base=str(base), distill={"cross_tokenizer": True}).check_teacher(far.model_copy(update={"logprobs": 4}))
    LoRA(base=str(base), distill=teacher).check_teacher(near)
    LoRA(base=str(base), distill={**teacher, "teacher": str(base)}).check_teacher(far)
    LoRA(base=str(base)).check_teacher(far)


def test_a_tokenizer_that_another_version_saved_is_no_other_one(base: Path, make: Callable[..., Path], tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    tokens = json.loads((other / "tokenizer.json").read_text("utf-8"))
    tokens["model"]["merges"] = [" ".join(pair) for pair in tokens["model"]["merges"]]
    (other / "tokenizer.json").write_text(json.dumps(tokens, indent=1), "utf-8")
    assert (other / "tokenizer.json").read_bytes() != (base / "tokenizer.json").read_bytes()
    LoRA(base=str(base), distill={"source": "teacher"}).check_teacher(HFTeacher(model=str(other), logprobs=4))
    assert load_chat(other).tokenizer_hash == load_chat(base).tokenizer_hash


def test_another_tokenizer_is_refused_before_the_teacher_is_paid(base: Path, make: Callable[..., Path], tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    tokens = json.loads((other / "tokenizer.json").read_text("utf-8"))
    tokens["model"]["merges"] = tokens["model"]["merges"][:-1]
    (other / "tokenizer.json").write_text(json.dumps(tokens), "utf-8")
    teacher = HFTeacher(model=str(other), logprobs=4)
    for options in ({"source": "teacher"}, {"source": "student"}, {}):
        with pytest.raises(pillm.ConfigError, match=r"another tokenizer than the student.*cross-tokenizer option"):
            LoRA(base=str(base), distill=options).check_teacher(teacher)
    LoRA(base=str(base), distill={"cross_tokenizer": True}).check_teacher(teacher)
