from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pillm.errors import BackendError
from pillm.intake import asking
from pillm.testing.hostile import SOUND
from pillm.testing.hostiletemplates import EXHAUSTIONS


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put another program in the child's place."""
    (tmp_path / "child.py").write_text("import json, os, sys, time\ntask = json.load(sys.stdin)\n" + code)
    monkeypatch.setattr(asking, "CHILD", tmp_path / "child.py")


def test_a_file_at_which_the_child_ends_is_refused_and_those_after_it_are_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
for path in task["files"]:
    if path.endswith("b"): os.kill(os.getpid(), 27)
    print(json.dumps({"notes": [path], "templates": []}), flush=True)
"""
    stand_in(tmp_path, monkeypatch, code)
    said = asking.look([Path(name) for name in "abc"], asking.Size())
    assert [one.get("notes") for one in said] == [["a"], None, ["c"]]
    assert "more than 2.0 s of computing" in said[1]["fault"]["reason"]


@pytest.mark.parametrize(("code", "words"), [
    ("os.kill(os.getpid(), 9)", "memory ran out"), ("os.kill(os.getpid(), 11)", "ended by signal 11"), ("", "fell silent"),
])  # fmt: skip
def test_however_the_child_ends_the_file_is_refused(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, code)
    (said,) = asking.look([Path("a")], asking.Size())
    assert words in said["fault"]["reason"]


def test_a_child_that_neither_computes_nor_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(asking, "WALL_SECONDS", -1.0)
    began = time.perf_counter()
    (said,) = asking.look([Path("a")], asking.Size())
    assert "nothing came of reading it" in said["fault"]["reason"]
    assert time.perf_counter() - began < 20


def test_a_child_that_fails_by_itself_refuses_nobodys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "raise RuntimeError('broken install')")
    with pytest.raises(BackendError, match="RuntimeError: broken install"):
        asking.look([Path("a")], asking.Size())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(BackendError, match="no process could be started"):
        asking.look([Path("a")], asking.Size())


def test_the_child_is_given_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    stand_in(tmp_path, monkeypatch, 'print(json.dumps({"notes": sorted(os.environ), "templates": []}))')
    (said,) = asking.look([Path("a")], asking.Size())
    assert "HF_TOKEN" not in said["notes"]


@pytest.mark.parametrize("template", EXHAUSTIONS)
def test_a_template_that_takes_all_there_is_is_ended_in_time(template: str) -> None:
    before = os.times()
    fault = asking.try_template(template, {}, seconds=0.8, megabytes=256)
    after = os.times()
    assert fault is not None
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.5
    assert any(word in fault.reason for word in ("0.8 s of computing", "more memory", "more depth", "characters of a short"))


def test_a_sound_file_is_looked_at_quickly(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(SOUND)
    before = os.times()
    (said,) = asking.look([tmp_path / "a.gguf"], asking.Size())
    after = os.times()
    assert "fault" not in said
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
