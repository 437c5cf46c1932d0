from __future__ import annotations

from pillm.intake.faults import Fault, shown


def test_a_fault_survives_its_way_through_the_pipe() -> None:
    fault = Fault("it overlaps", 12, broken=True, name="a.gguf")
    again = Fault.from_json(fault.to_json())
    assert (again.reason, again.at, again.broken, again.name) == ("it overlaps", 12, True, "a.gguf")


def test_a_text_from_outside_cannot_move_the_cursor_of_a_terminal_nor_fill_it() -> None:
    assert shown("\x1b[2J") == r"'\x1b[2J'"
    assert len(shown("x" * 10_000)) == 80
