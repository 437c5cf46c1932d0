from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pillm_llamacpp import command
from pillm_llamacpp.building.built import Built
from pillm_llamacpp.building.targets import TARGETS

import pillm


@pytest.fixture
def made(tmp_path: Path) -> Built:
    """Return a folder in which a program is in place."""
    built = Built(TARGETS["this"], tmp_path / "out")
    (built.folder / "bin").mkdir(parents=True)
    built.path("llama-bench").write_text("made")
    built.record(("llama-bench",), "g++", TARGETS["this"].options(()))
    return built


def test_where_the_programs_are_goes_to_stdout_and_the_rest_to_stderr(
    made: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert command.main(["build", "--programs", "llama-bench", "--out", str(made.folder)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{made.path('llama-bench')}\n"
    assert err == "build: llama-bench: up to date\n"


def test_faults_are_a_sentence_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["build", "--programs", "llama-nothing"]) == 2
    assert capsys.readouterr().err.startswith("pillm-llamacpp: llama.cpp has no program llama-nothing.")
    with pytest.raises(SystemExit) as ended:
        command.main(["build", "--target", "pi3"])
    assert ended.value.code == 2


def test_an_interruption_says_that_the_work_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pillm_llamacpp.building.compiling.build", interrupted)
    assert command.main(["build"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("terminal", "said"), [(True, 3), (False, 1)])
def test_steps_are_counted_on_a_terminal_and_told_now_and_then_elsewhere(
    terminal: bool, said: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(0, 100))
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(times)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    progress = pillm.Progress("build", (command._Lines(),))
    progress.start(total=3)
    for _ in range(3):
        progress.advance()
    assert capsys.readouterr().err.count("of 3 steps") == said
