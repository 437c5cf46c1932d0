"""A run ends with one answer of its best file as its device would give it, where a runner can play the device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Checkpoint, ModelFile
from pillm.backends import Runner, Session
from pillm.contract import Contract
from pillm.emulation import FILE, Emulated, Trial, find_emulator, try_emulated
from pillm.errors import BackendError, MissingDependency
from pillm.progress import Event, Progress
from pillm.records import Answer, Failure, Prompt, Request
from pillm.store import read_manifest
from pillm.testing import FAKES, installed_plugin

EMULATORS = """
from typing import ClassVar
from pillm import hookimpl
from pillm.testing.fakes import TableRunner

class Played(TableRunner):
    "Plays a board."
    name: ClassVar[str] = "played"
    emulates: ClassVar[str] = "pi4"

@hookimpl
def pillm_runners():
    return [Played]
"""
ROW = Prompt(id="r1", messages=({"role": "user", "content": "hello"},))


class Says(Runner):
    """Answers what it was told to."""

    name: ClassVar[str] = "says"
    emulates: ClassVar[str] = "pi4"
    text: str = "one two three"
    ids: tuple[int, ...] | None = (1, 2, 3)
    finish: str = "stop"
    missing: str = ""
    failure: str = ""

    def check(self) -> None:
        if self.missing:
            raise MissingDependency(self.missing)

    def open(self, model: ModelFile | Checkpoint) -> Session:
        return Saying(self)


class Saying(Session):
    asked: ClassVar[int] = 0

    def __init__(self, runner: Says) -> None:
        self._runner = runner

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            Saying.asked += 1
            told = self._runner
            yield (
                request,
                Failure("server", told.failure)
                if told.failure
                else Answer(told.text, token_ids=told.ids, finish_reason=told.finish, timings={"seconds": 1.5}),
            )


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    path = tmp_path / "student.gguf"
    path.write_bytes(b"weights")
    return ModelFile.of(path, "Q8_0")


def attempt(model: ModelFile, there: Runner, here: Runner | None = None, progress: Progress | None = None):  # type: ignore[no-untyped-def]
    folder = model.path.parent / "evaluate" / "emulated"
    trial = Trial(model=model, row=ROW, here=here or Says(), there=there, contract=Contract(), folder=folder)
    return try_emulated(trial, progress or Progress())


def found(model: ModelFile, there: Runner, here: Runner | None = None) -> Emulated:
    result, why = attempt(model, there, here)
    assert why is None
    assert result is not None
    return result


def test_equal_tokens_are_the_same_answer(model: ModelFile) -> None:
    told = found(model, Says())
    assert (told.same, told.parts_at, told.unit, told.compared) == (True, None, "tokens", 3)
    assert (told.model, told.runner, told.row, told.prompt) == ("student.gguf", "says", "r1", "hello")
    assert told.seconds == 1.5


@pytest.mark.parametrize(("ids", "at"), [((1, 9, 3), 1), ((9,), 0), ((1, 2), 2), ((1, 2, 3, 4), 3), ((), 0)])
def test_the_token_at_which_two_answers_part_is_told(model: ModelFile, ids: tuple[int, ...], at: int) -> None:
    told = found(model, Says(ids=ids))
    assert (told.same, told.parts_at) == (False, at)


def test_an_answer_that_was_cut_shorter_there_is_no_other_answer(model: ModelFile) -> None:
    assert found(model, Says(ids=(1, 2), finish="length")).same
    assert not found(model, Says(ids=(1, 7), finish="length")).same
    assert found(model, Says(), Says(ids=(1, 2), finish="length")).same
    assert not found(model, Says(finish="length"), Says(ids=(1, 2))).same


def test_neither_side_samples_or_is_held_by_a_grammar(model: ModelFile) -> None:
    class Free(Says):
        temperature: float = 0.7
        constrain: bool = True

        def open(self, model: ModelFile | Checkpoint) -> Session:
            assert (self.temperature, self.constrain) == (0.0, False)
            return Saying(self)

    assert found(model, Says(), Free()).same


def test_texts_are_compared_where_one_side_tells_no_tokens(model: ModelFile) -> None:
    told = found(model, Says(text="one two tree", ids=None))
    assert (told.same, told.parts_at, told.unit, told.compared) == (False, 9, "characters", 13)


def test_it_is_asked_once_and_its_record_is_kept(model: ModelFile) -> None:
    events: list[Event] = []
    first, asked = found(model, Says()), Saying.asked
    again, _ = attempt(model, Says(), progress=Progress("emulate", (events.append,)))
    assert again == first
    assert Saying.asked == asked
    assert [event.kind for event in events] == ["up-to-date"]
    folder = model.path.parent / "evaluate" / "emulated"
    assert json.loads((folder / FILE).read_text())["same"] is True
    assert (read_manifest(folder) or {})["verb"] == "evaluate"
    assert found(model, Says(ids=(1, 2, 4))).parts_at == 2


@pytest.mark.parametrize("there", [Says(missing="qemu is not installed"), Says(failure="qemu is not installed")])
def test_what_stands_in_the_way_is_a_sentence_and_no_fault_of_the_run(model: ModelFile, there: Runner) -> None:
    result, why = attempt(model, there)
    assert result is None
    assert why is not None
    assert "qemu is not installed" in why
    assert not (model.path.parent / "evaluate" / "emulated").exists()


def test_a_runner_that_gives_no_answer_at_all_is_told(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Saying, "answer", lambda self, requests: iter(()))
    assert "gave no answer" in str(attempt(model, Says())[1])
    monkeypatch.setattr(Says, "open", lambda self, model: (_ for _ in ()).throw(BackendError("cannot be loaded")))
    assert attempt(model, Says()) == (None, "cannot be loaded")


@pytest.mark.parametrize(("device", "played"), [("pi4-2gb", True), ("pi4", True), ("pi45", False), ("pi5-4gb", False)])
def test_an_emulator_is_found_by_the_device_that_it_plays(tmp_path: Path, device: str, played: bool) -> None:
    with installed_plugin(tmp_path / "fakes", "fakes", FAKES), installed_plugin(tmp_path / "played", "played", EMULATORS):
        emulator = find_emulator(device, "table")
        assert find_emulator(device, "another kind") is None
    assert (emulator is not None and emulator.name == "played") is played


def test_without_a_plugin_that_plays_devices_there_is_none(fakes: Path) -> None:
    assert find_emulator("pi4-2gb", "table") is None
