from __future__ import annotations

import itertools
import struct
import subprocess
from pathlib import Path

import pytest
from pillm_llamacpp.boards import emulated
from pillm_llamacpp.boards.emulated import FLAGS, PROGRAM, EmulatedRunner, read_session
from pillm_llamacpp.building.emulation import QEMU
from pillm_llamacpp_boardtools import program
from pillm_llamacpp_tiny import SENTENCES, answers, request

import pillm

ROOT = Path(__file__).parents[3]


@pytest.fixture
def model() -> pillm.ModelFile:
    """Return the file of the board's self-test: small, and sure of every word."""
    return pillm.ModelFile.of(ROOT / "rpi4" / "selftest" / "tiny.gguf", "Q4_K_M")


def both(model: pillm.ModelFile, asked: list[pillm.Request]) -> list[tuple[pillm.Answer, pillm.Answer]]:
    """Return what the file says here and as on the board."""
    here = answers(pillm.runner("local", max_tokens=48), model, asked)
    there = answers(pillm.runner("pi4-emulated", max_tokens=48), model, asked)
    assert all(isinstance(one, pillm.Answer) for one in (*here, *there)), (here, there)
    return list(zip(here, there, strict=True))  # type: ignore[arg-type]


def test_the_board_answers_the_same_tokens_as_this_machine(model: pillm.ModelFile) -> None:
    program(PROGRAM)
    ((here, there),) = both(model, [request(r"a tab \t, a quote ' and " + SENTENCES[0])])
    assert there.token_ids == here.token_ids
    assert (there.content, there.finish_reason) == (here.content, here.finish_reason)
    assert there.usage is not None
    assert here.usage is not None
    assert there.usage.prompt_tokens == here.usage.prompt_tokens


@pytest.mark.full
@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M"])
def test_a_trained_model_answers_ten_requests_alike(quant: str, tmp_path: Path) -> None:
    program(PROGRAM)
    folder = pillm.model_folder("nano-teacher")
    assert folder is not None
    exporter = pillm.exporter("gguf", quants=quant, imatrix="off")
    (model,) = pillm.export(pillm.Checkpoint(path=folder), exporter, out=tmp_path / "export")
    rows = itertools.islice(pillm.read_prompts(ROOT / "dataset" / "assistant" / "handwritten.jsonl"), 10)
    pairs = both(model, [pillm.Contract().request(row, {}) for row in rows])
    assert [there.token_ids == here.token_ids for here, there in pairs] == [True] * 10
    assert len({there.content for _, there in pairs}) > 5


def test_every_flag_is_one_that_the_program_has() -> None:
    said = subprocess.run([QEMU, str(program(PROGRAM)), "--help"], capture_output=True, text=True, check=True).stdout
    words = set(said.replace(",", " ").split())
    assert [flag for flag in FLAGS if flag not in words] == []


def test_a_prompt_that_the_template_refuses_and_an_answer_that_takes_too_long_are_failures(model: pillm.ModelFile) -> None:
    program(PROGRAM)
    (late,) = answers(EmulatedRunner(timeout=0.05), model, [request()])
    assert isinstance(late, pillm.Failure)
    assert late.kind == "server"
    assert "under qemu" in late.message


def test_a_file_that_would_take_minutes_is_refused_with_the_option_that_waits(model: pillm.ModelFile, tmp_path: Path) -> None:
    program(PROGRAM)
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(pillm.ConfigError, match=r"has 200 MB.*max_mb=201"):
        EmulatedRunner().open(pillm.ModelFile(path=large, quant="Q8_0", bytes=1, sha256=""))
    with pytest.raises(pillm.ConfigError, match="is a model folder"):
        EmulatedRunner().open(pillm.Checkpoint(path=tmp_path))


def test_what_is_missing_is_told_with_the_command_that_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(emulated.emulator().__class__, "check", lambda self: None)
    with pytest.raises(pillm.MissingDependency, match="pillm-llamacpp build --target pi4"):
        EmulatedRunner().check()
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pillm.MissingDependency, match="qemu-user-static"):
        EmulatedRunner().check()


def test_the_tokens_that_a_program_recorded_are_read_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.write_bytes(struct.pack("<4sII3i", b"nsgg", 10, 3, 7, 8, 9) + b"cache")
    assert read_session(path) == [7, 8, 9]
    for damaged in (b"", b"ggla" + bytes(20), struct.pack("<4sII", b"nsgg", 10, 2**31)):
        path.write_bytes(damaged)
        with pytest.raises(pillm.BackendError, match="no record of its tokens"):
            read_session(path)
