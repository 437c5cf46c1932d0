"""Which EasyDistill an interpreter has, and what to install where it is another one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pillm_easydistill import EasyDistillTeacher, EasyDistillTrainer
from pillm_easydistill.installation import look, require

import pillm

Standin = Callable[..., Path]


def test_the_versions_are_told_apart_without_running_them(standin: Standin) -> None:
    for version in ("empty", "v1", "v2"):
        folder = standin(version)
        for script in folder.rglob("*.py"):
            text = script.read_text("utf-8")
            script.write_text(text + "\nraise SystemExit('executed')\n", "utf-8")
        assert (look(None).kind, look(None).folder) == (version, folder / "easydistill")


def test_without_it_the_message_says_what_to_install() -> None:
    said = r"is not installed for .*/python.*git clone --branch v1\.0\.0 https://.*python="
    with pytest.raises(pillm.MissingDependency, match=said) as caught:
        require(None, "v1")
    assert caught.value.exit_code == 4
    with pytest.raises(pillm.MissingDependency, match=r'pip install "git\+https://github.com/modelscope/easydistill@v2.0.0"'):
        require(None, "v2")


def test_the_empty_package_of_that_name_is_recognised(standin: Standin) -> None:
    standin("empty")
    with pytest.raises(pillm.MissingDependency, match=r"the empty one of that name .*pip uninstall easydistill"):
        require(None, "v1")


def test_version_2_cannot_train_and_version_1_is_no_teacher(standin: Standin, base: Path) -> None:
    standin("v2")
    with pytest.raises(pillm.MissingDependency, match="is version 2, which makes data and cannot train"):
        EasyDistillTrainer(base=str(base)).check()
    standin("v1")
    with pytest.raises(pillm.MissingDependency, match="is version 1, and its data jobs are those of version 2"):
        EasyDistillTeacher(model="m", base_url="http://127.0.0.1:1/v1").check()


def test_what_it_needs_beside_itself_is_named(standin: Standin) -> None:
    (standin("v1") / "jsonlines.py").unlink()
    with pytest.raises(pillm.MissingDependency, match=r"lacks jsonlines: .*python -m pip install jsonlines"):
        require(None, "v1")
    (standin("v2") / "dotenv.py").unlink()
    with pytest.raises(pillm.MissingDependency, match=r"lacks dotenv: .*pip install python-dotenv"):
        require(None, "v2")


def test_a_checkout_that_only_lies_in_the_current_folder_is_not_installed(
    standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = standin("v1")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(folder)
    assert look(None).kind == "absent"


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_a_python_that_does_not_run_is_a_wrong_option(python: str) -> None:
    with pytest.raises(pillm.ConfigError, match=f"python={python} is no Python that runs"):
        look(python)


def test_a_python_is_named_as_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "env" / "python-1"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert look("env/python-1").python == str(python)
    monkeypatch.setenv("PATH", str(python.parent))
    assert look("python-1").python == str(python)
