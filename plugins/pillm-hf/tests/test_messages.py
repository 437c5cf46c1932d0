"""What the processes of a launch tell the one that started them."""

from __future__ import annotations

from pathlib import Path

from pillm_hf.launching import messages

import pillm


def test_the_first_error_is_the_one_of_the_first_process(tmp_path: Path) -> None:
    assert messages.read_error(tmp_path) is None
    messages.write_error(tmp_path, 10, pillm.DataError("ten"))
    messages.write_error(tmp_path, 2, pillm.BackendError("two"))
    error = messages.read_error(tmp_path)
    assert (type(error), str(error)) == (pillm.BackendError, "two")


def test_events_are_handed_on_as_they_were(tmp_path: Path) -> None:
    seen: list[pillm.Event] = []
    relay = messages.Relay(tmp_path, pillm.Progress("here", (seen.append,)))
    relay.catch_up()
    progress = messages.event_writer(tmp_path)
    progress.start(7, "steps")
    progress.advance(3, loss=1.5)
    relay.catch_up()
    progress.advance(2, loss=1.25)
    progress.warn("mind")
    with (tmp_path / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "no')  # an event of which only the beginning is written yet
    relay.catch_up()
    kinds = [(event.kind, event.done, event.total, event.figures, event.message) for event in seen]
    assert kinds == [
        ("start", 0, 7, {}, ""),
        ("advance", 3, 7, {"loss": 1.5}, ""),
        ("advance", 5, 7, {"loss": 1.25}, ""),
        ("warning", 5, 7, {}, "mind"),
    ]
    assert {event.stage for event in seen} == {"here"}
