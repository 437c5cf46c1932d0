"""Trackers: what `report_to` names gets the figures, nothing else is told anything, and none of them stops a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking as theirs
from pillm_hf import LoRA
from pillm_hf.training.tracking import require, tracked

import pillm

FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 10, "rank": 4, "logging_steps": 1}
FIGURES = {"loss", "learning_rate", "tokens_per_second", "memory_gib", "validation_loss", "validation_accuracy"}

# what a tracker's package is called by: a module that writes down each call
STAND_IN = """\
import json, pathlib
CALLS = pathlib.Path(__file__).with_suffix(".calls")

def _note(name, *args, **kwargs):
    with CALLS.open("a") as file:
        file.write(json.dumps([name, args, kwargs], default=str) + "\\n")

class _Run:
    def log(self, values, step=None):
        _note("log", values, step=step)

    def finish(self):
        _note("finish")

class config:
    @staticmethod
    def update(values, allow_val_change=False):
        _note("config", values)

def init(project, **more):
    print("hello from the tracker")
    _note("init", project, **more)
    return _Run()

def finish():
    _note("finish")
"""
MLFLOW = """
class utils:
    class validation:
        MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH = 6000, 100

def search_experiments(filter_string):
    return []

def create_experiment(name, artifact_location, tags):
    _note("init", name)
    return "1"

def start_run(**more):
    return _Run()

def log_params(values):
    _note("config", values)

def log_metrics(values, step):
    _note("log", values, step=step)

def end_run():
    _note("finish")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Callable[[], list[Any]]]]:
    """Return a maker of stand-in packages: install(name) gives a function that returns the calls made to it."""
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("WANDB_PROJECT", "TRACKIO_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_NESTED_RUN"):
        monkeypatch.delenv(variable, raising=False)

    def install(name: str) -> Callable[[], list[Any]]:
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(STAND_IN + (MLFLOW if name == "mlflow" else ""), "utf-8")
        calls = tmp_path / f"{name}.calls"
        return lambda: [json.loads(line) for line in calls.read_text("utf-8").splitlines()] if calls.is_file() else []

    yield install
    for name in ("wandb", "trackio", "mlflow"):
        __import__("sys").modules.pop(name, None)


def train(base: Path, data: pillm.TrainingData, out: Path, report_to: list[str]) -> list[pillm.Event]:
    seen: list[pillm.Event] = []
    out.mkdir()
    LoRA(base=str(base), report_to=report_to, **FAST).train(data, out, pillm.Progress("train", (seen.append,)))
    return seen


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_a_tracker_gets_options_and_the_figures_of_each_step(
    name: str, base: Path, data: pillm.TrainingData, tmp_path: Path, stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stand_in(name)
    seen = train(base, data, tmp_path / "out", [name])
    made = calls()
    assert not [event.message for event in seen if event.kind == "warning"]
    assert made[0][:2] == ["init", ["pillm"]]
    assert made[1][0] == "config"
    told = made[1][1][0]
    assert (told["use"], told["rank"], told["base"], told["report_to"]) == ("lora", 4, told["base"], f"['{name}']")
    assert all(isinstance(value, (str, int, float, bool)) for value in told.values())
    assert [call[0] for call in made[2:]] == ["log"] * (len(made) - 3) + ["finish"]
    logged = [(call[2]["step"], call[1][0]) for call in made[2:-1]]
    assert logged == [(event.done, event.figures) for event in seen if event.figures]
    assert {figure for _, figures in logged for figure in figures} == FIGURES
    assert capsys.readouterr().out == ""


def test_tensorboard_files_lie_beside_the_student(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    train(base, data, tmp_path / "out", ["tensorboard"])
    (path,) = (tmp_path / "out" / "tensorboard").glob("events.*")
    content, place, found = path.read_bytes(), 0, {}
    while place < len(content):  # each record: its length in 8 bytes, a checksum, the event, a checksum
        size = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + size])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        place += size + 16
    log = json.loads((tmp_path / "out" / "training.json").read_text("utf-8"))
    for entry in log["log"]:
        assert found["loss", entry["step"]] == pytest.approx(entry["loss"])
    assert {tag for tag, _ in found} >= FIGURES


def test_nothing_is_told_unless_asked(base: Path, data: pillm.TrainingData, tmp_path: Path, stand_in: Any) -> None:
    calls = [stand_in(name) for name in ("wandb", "trackio", "mlflow")]
    train(base, data, tmp_path / "out", [])
    assert [made() for made in calls] == [[], [], []]
    assert not (tmp_path / "out" / "tensorboard").exists()


def test_a_tracker_that_is_not_installed_is_refused_before_the_training(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wandb").mkdir()  # what a former run of it left behind is no package
    trainer = LoRA(base=str(base), report_to=["wandb", "mlflow"])
    with pytest.raises(pillm.MissingDependency, match=r"wandb and mlflow are not .* pip install wandb mlflow") as error:
        trainer.check()
    assert error.value.exit_code == 4
    require(["tensorboard"])


def test_trackers_are_no_part_of_the_key(base: Path) -> None:
    assert LoRA(base=str(base), report_to=["wandb"]).identity() == LoRA(base=str(base)).identity()


@pytest.mark.parametrize("text", ["none", ""])
def test_none_is_the_default_and_can_be_said(text: str) -> None:
    assert not pillm.trainer("lora", base="nano-base", report_to=text).report_to
    assert pillm.trainer("lora", base="nano-base", report_to="wandb,mlflow").report_to == ["wandb", "mlflow"]


class Broken(theirs.GeneralTracker):
    """Fails in one of its calls."""

    name = "mlflow"
    requires_logging_directory = False
    fails: ClassVar[str] = ""
    calls: ClassVar[list[str]] = []

    def __init__(self, run_name: str) -> None:
        super().__init__()
        self._act("make")

    @property
    def tracker(self) -> None:
        return None

    def _act(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise ConnectionError("no\nserver")

    def start(self) -> None:
        self._act("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._act("config")

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self._act("log")

    def finish(self) -> None:
        self._act("finish")


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("make", ["make"]),
        ("start", ["make", "start"]),
        ("config", ["make", "start", "config"]),
        ("log", ["make", "start", "config", "log"]),
        ("finish", ["make", "start", "config", "log", "log", "finish"]),
    ],
)
def test_a_tracker_that_fails_is_told_of_once_and_the_training_goes_on(
    fails: str, calls: list[str], tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("mlflow")
    others = stand_in("wandb")
    monkeypatch.setitem(theirs.LOGGER_TYPE_TO_CLASS, "mlflow", Broken)
    monkeypatch.setattr(Broken, "fails", fails)
    monkeypatch.setattr(Broken, "calls", [])
    seen: list[pillm.Event] = []
    with tracked(["mlflow", "wandb"], {}, tmp_path, pillm.Progress("train", (seen.append,))) as progress:
        progress.start(2, "steps")
        progress.advance(1, loss=2.0)
        progress.advance(1, loss=1.0)
    assert Broken.calls == calls
    (warning,) = (event.message for event in seen if event.kind == "warning")
    assert warning == "report_to: mlflow failed (ConnectionError: no server); the training goes on without it."
    assert [call[0] for call in others()] == ["init", "config", "log", "log", "finish"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("GET https://ann:hunter22@host/api failed", "GET https://***@host/api failed"),
        ("no route to postgresql://ann:p/w@host:1/db", "no route to postgresql://***@host:1/db"),
        ("401 for https://host/log?run=7&api_key=abc&step=1", "401 for https://host/log?run=7&api_key=***&step=1"),
        ("key 'sesame-open' is not known", "key '***' is not known"),
        ("user ann, password hunter22", "user ann, password ***"),
        ("https://host/api: 1 of 2 tries", "https://host/api: 1 of 2 tries"),
    ],
)
def test_what_a_failing_tracker_says_is_told_without_secrets(
    said: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Broken) -> None:
        raise ConnectionError(said)

    monkeypatch.setitem(theirs.LOGGER_TYPE_TO_CLASS, "mlflow", Broken)
    monkeypatch.setattr("pillm_hf.training.tracking.require", lambda names: None)
    monkeypatch.setattr(Broken, "start", fail)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:hunter22@host")
    monkeypatch.setenv("WANDB_API_KEY", "sesame-open")
    monkeypatch.setenv("USE_AUTH", "1")
    seen: list[pillm.Event] = []
    with tracked(["mlflow"], {}, tmp_path, pillm.Progress("train", (seen.append,))):
        pass
    (warning,) = (event.message for event in seen if event.kind == "warning")
    assert warning == f"report_to: mlflow failed (ConnectionError: {told}); the training goes on without it."


def test_a_training_that_fails_still_closes_its_trackers(tmp_path: Path, stand_in: Any) -> None:
    calls = stand_in("wandb")
    with pytest.raises(pillm.BackendError), tracked(["wandb"], {"distill": {"k": 8}, "gone": None}, tmp_path, pillm.Progress()):
        raise pillm.BackendError("the loss is nan")
    assert [call[0] for call in calls()] == ["init", "config", "finish"]
    assert calls()[1][1] == [{"distill.k": 8}]
