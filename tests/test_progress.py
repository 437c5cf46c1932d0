"""Every event reaches every reader, numbered by what is done, and costs nothing where nobody reads."""

import json
from types import SimpleNamespace

from pillm import Event, Progress
from pillm.progress import EVENT_VERSION, events_file


def test_events_say_how_much_of_what_is_done():
    seen: list[Event] = []
    progress = Progress("train", (seen.append,))
    progress.start(2, "steps", "off we go")
    progress.advance(loss=1.5)
    progress.note("half")
    progress.warn("hot")
    progress.advance()
    progress.finish("done", tps=3.0)
    progress.up_to_date()
    told = [(event.kind, event.done, event.total, event.unit) for event in seen[:5]]
    assert told == [
        ("start", 0, 2, "steps"), ("advance", 1, 2, "steps"), ("note", 1, 2, "steps"), ("warning", 1, 2, "steps"),
        ("advance", 2, 2, "steps"),
    ]  # fmt: skip
    assert seen[1].figures == {"loss": 1.5}
    assert (seen[5].kind, seen[5].message, seen[5].figures) == ("finish", "done", {"tps": 3.0})
    assert (seen[6].kind, seen[6].message) == ("up-to-date", "up to date")
    assert {(event.stage, event.version) for event in seen} == {("train", EVENT_VERSION)}


def test_a_second_phase_counts_from_zero():
    seen: list[Event] = []
    progress = Progress("export", (seen.append,))
    progress.start(5)
    progress.advance(5)
    progress.start(None, "tensors")
    progress.advance(2)
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (2, None, "tensors")


def test_another_stage_has_the_same_readers_and_its_own_count():
    seen: list[Event] = []
    first = Progress("label", (seen.append,))
    first.advance(3)
    first.for_stage("train").advance()
    assert [(event.stage, event.done) for event in seen] == [("label", 3), ("train", 1)]


def test_a_silent_progress_does_nothing():
    progress = Progress()
    progress.start(1)
    progress.advance()
    progress.finish()


def test_events_are_appended_as_json_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with events_file(path) as reader:
            progress = Progress("label", (reader,))
            progress.start(3, "lignes")
            progress.note("ça")
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [event["kind"] for event in events] == ["start", "note"] * 2
    assert events[1]["message"] == "ça"
    assert Event(**events[0]).unit == "lignes"


def test_a_fast_stage_does_not_flood_the_file_and_its_end_is_never_missing(tmp_path):
    path = tmp_path / "events.jsonl"
    with events_file(path, every=60) as reader:
        progress = Progress("label", (reader,))
        progress.start(1000)
        for _ in range(1000):
            progress.advance()
        progress.finish()
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(event["kind"], event["done"]) for event in events] == [("start", 0), ("advance", 1000), ("finish", 1000)]


def test_figures_of_another_kind_are_not_lost_between_those_that_come_often(tmp_path):
    path = tmp_path / "events.jsonl"
    with events_file(path, every=60) as reader:
        progress = Progress("train", (reader,))
        progress.start(100)
        for _ in range(10):
            progress.advance(1, loss=1.0)
        progress.advance(0, validation_loss=2.0)
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [event["figures"] for event in events] == [{}, {"loss": 1.0}, {"validation_loss": 2.0}]


def test_events_without_figures_are_written_seldom_and_keep_none_with_figures_away(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    clock = iter(range(1000, 2000))
    monkeypatch.setattr("pillm.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with events_file(path) as reader:
        progress = Progress("train", (reader,))
        progress.start(22, "steps")
        for step in range(1, 22):  # a second each
            progress.advance(1, **({"loss": 1.0} if step % 8 == 0 else {}))
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    told = [(event["done"], bool(event["figures"])) for event in events if event["kind"] == "advance"]
    assert told == [(5, False), (8, True), (13, False), (16, True), (21, False)]
