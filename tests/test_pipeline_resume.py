"""The same command again: what stands is not made anew, what was killed goes on, what was damaged is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.errors import Unavailable
from pillm.pipeline import run
from pillm.progress import Event, Progress
from pillm.recipe import load_recipe
from pillm.testing import installed_plugin
from pillm.verification import verify
from tests.recipes import RECIPE, go, states

pytestmark = pytest.mark.usefixtures("recipe_folder")


def test_the_same_run_again_is_up_to_date_everywhere(tmp_path: Path) -> None:
    first = go(tmp_path)
    events: list[Event] = []
    second = go(tmp_path, readers=(events.append,))
    assert set(states(events).values()) == {"up-to-date"}
    assert second.report == first.report
    assert verify(tmp_path / "run") == []


def test_a_training_option_trains_again_and_never_labels(tmp_path: Path) -> None:
    go(tmp_path)
    events: list[Event] = []
    go(tmp_path, "trainer.upper=true", readers=(events.append,))
    ended = states(events)
    assert ended["label"] == "up-to-date"
    assert (ended["train"], ended["export"]) == ("finish", "finish")
    assert not any(event.stage == "evaluate echo" and event.kind == "finish" for event in events)


def test_an_option_that_cannot_change_answers_re_asks_nothing(tmp_path: Path) -> None:
    go(tmp_path)
    events: list[Event] = []
    go(tmp_path, "teacher.window=3", readers=(events.append,))
    assert {stage for stage, state in states(events).items() if state != "up-to-date"} <= {"report"}


def test_a_changed_byte_anywhere_is_found(tmp_path: Path) -> None:
    go(tmp_path)
    run_folder = tmp_path / "run"
    files = [path for path in run_folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if path.name not in ("events.jsonl", "manifest.json")]
    assert len(files) > 15
    for path in files:
        good = path.read_bytes()
        if good:
            path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
            assert [problem.path for problem in verify(run_folder)] == [path]
            path.write_bytes(good)
    assert verify(run_folder) == []


def test_a_changed_stage_manifest_is_found_by_the_root_manifest(tmp_path: Path) -> None:
    go(tmp_path)
    manifest = tmp_path / "run" / "train" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1', '"seed": 2'))
    assert [problem.path for problem in verify(tmp_path / "run")] == [manifest]


def test_a_killed_stage_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, readers=(kill,))
    events: list[Event] = []
    go(tmp_path, readers=(events.append,))
    assert (states(events)["label"], states(events)["train"], states(events)["export"]) == (
        "up-to-date",
        "up-to-date",
        "finish",
    )


def test_a_row_that_changes_only_the_balance_writes_the_report_anew(tmp_path: Path) -> None:
    go(tmp_path, "filters=[{use: drop, word: secret}]")
    with (tmp_path / "handwritten.jsonl").open("a") as file:
        file.write('{"id": "h2", "user": "a secret"}\n')
    assert go(tmp_path, "filters=[{use: drop, word: secret}]").report["rows"]["rejected"] == 1


FLAKY = '''
from pathlib import Path
from pillm import Failure, hookimpl
from pillm.testing import EchoTeacher

class Flaky(EchoTeacher):
    """Loses the network while a file says so."""

    name = "flaky"

    def answer(self, requests):
        for request, result in super().answer(requests):
            note = Path(__file__).parent / "offline"
            lost = note.exists() and request.prompt.text == "say 3"
            yield request, Failure(note.read_text() or "network", "connection reset") if lost else result

@hookimpl
def pillm_teachers():
    return [Flaky]
'''


def test_a_teacher_that_lost_the_network_stops_the_run_and_the_same_command_resumes(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("use: echo", "use: flaky"))
    with installed_plugin(tmp_path / "flaky", "flaky", FLAKY):
        (tmp_path / "flaky" / "offline").write_text("")
        with pytest.raises(Unavailable, match="same command asks the others again"):
            go(tmp_path)
        (tmp_path / "flaky" / "offline").unlink()
        assert go(tmp_path).report["rows"]["failed"] == 0


def test_rows_that_failed_for_good_are_told_of_and_asked_again_on_demand(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("use: echo", "use: flaky"))
    events: list[Event] = []
    with installed_plugin(tmp_path / "flaky", "flaky", FLAKY):
        (tmp_path / "flaky" / "offline").write_text("refused")
        assert go(tmp_path, readers=(events.append,)).report["rows"]["failed"] == 2
        (tmp_path / "flaky" / "offline").unlink()
        assert go(tmp_path).report["rows"]["failed"] == 2
        healed = run(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", retry=frozenset({"failed"}))
    assert healed.report["rows"]["failed"] == 0
    told = [event.message for event in events if "failed for good and are not trained on" in event.message]
    assert told[0].startswith("2 rows")
    assert told[0].endswith("says why. Ask them again: --retry failed")


@pytest.mark.parametrize("name", ["recipe.yaml", "report.json", "manifest.json", "train/manifest.json", "export/manifest.json"])
def test_the_same_command_mends_a_damaged_file_of_a_run(tmp_path: Path, name: str) -> None:
    go(tmp_path)
    damaged = tmp_path / "run" / name
    good = damaged.read_bytes()
    damaged.write_bytes(good.replace(b"sha256", b"sha257", 1) if name.startswith(("train", "export")) else b"\xff" + good[1:])
    assert damaged in [problem.path for problem in verify(tmp_path / "run")]
    go(tmp_path)
    assert verify(tmp_path / "run") == []


def test_the_recipe_of_a_run_folder_runs_and_makes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    first = run(load_recipe(f"{tmp_path.name}/recipe.yaml", ["device=board.yaml"]), f"{tmp_path.name}/run").report
    again = run(load_recipe(f"{tmp_path.name}/run/recipe.yaml"), f"{tmp_path.name}/again").report
    assert again["rows"] == first["rows"]
    assert again["resolved"] == first["resolved"]
    assert first["resolved"]["prompts"] == "../rows.jsonl"
    assert first["resolved"]["evaluate"]["sets"] == {"handwritten": "../handwritten.jsonl"}
    assert first["resolved"]["device"] == "../board.yaml"
    assert first["device"] == again["device"] == "board"


def test_where_a_run_is_started_and_where_it_lies_make_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("recipe.yaml", "rows.jsonl", "handwritten.jsonl", "run"):
        (tmp_path / name).rename(moved / name)
    monkeypatch.chdir(moved)
    events: list[Event] = []
    run(load_recipe("recipe.yaml"), "run", progress=Progress("", (events.append,)))
    assert set(states(events).values()) == {"up-to-date"}
