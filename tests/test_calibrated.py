"""A calibration as a file: what it says of what was timed, and of what disturbed it."""

from __future__ import annotations

from pathlib import Path

from pillm.devices import device
from pillm.devices.planner import plan_shape
from tests.test_calibration import BOARD, LARGE, MIDDLE, MINUTE, SMALL, TINY, profile_of, text_of, timed

TIMINGS = [timed(one, BOARD) for one in (MINUTE, TINY, SMALL, MIDDLE, LARGE)]


def test_what_was_disturbed_is_trusted_least_and_says_why(tmp_path: Path) -> None:
    calm, busy = (profile_of(text_of(TIMINGS, disturbed=said), tmp_path) for said in ((), ("a load\nof 2.10",)))
    for key in ("bandwidth_gbps", "layer_ms", "cycles.Q4_0", "attention_cycles"):
        assert (calm.facts[key].trust, busy.facts[key].trust) == (3, 1)
    assert "disturbed (a load of 2.10)" in busy.facts["bandwidth_gbps"].source
    assert "# Disturbed: a load of 2.10.\n" in text_of(TIMINGS, disturbed=("a load\nof 2.10",))
    still, shaken = plan_shape(MIDDLE, calm), plan_shape(MIDDLE, busy)
    assert (still.basis_note, still.tg_interval is not None) == ("", True)
    assert "disturbed (a load of 2.10)" in shaken.basis_note
    assert (shaken.tg_interval, shaken.pp_interval) == (None, None)


def test_what_is_held_twice_is_what_the_timed_program_does(tmp_path: Path) -> None:
    inherited = profile_of(text_of(TIMINGS), tmp_path)
    assert inherited.repacked == device("generic-arm64").repacked
    none = profile_of(text_of(TIMINGS, repacked=()), tmp_path)
    assert (none.repacked, none.facts["repacked"].trust) == (frozenset(), 3)
    some = profile_of(text_of(TIMINGS, repacked=("Q4_0", "IQ4_NL")), tmp_path)
    assert some.repacked == {"Q4_0", "IQ4_NL"}


def test_a_name_of_a_machine_cannot_write_the_file(tmp_path: Path) -> None:
    text = text_of(TIMINGS, disturbed=("x\nextends: pi4-2gb",))
    assert profile_of(text, tmp_path).runtime_mib == device("generic-arm64").runtime_mib
