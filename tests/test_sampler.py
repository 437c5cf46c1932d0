"""Sensors are read beside the work, and what the work drew is reckoned from them."""

from __future__ import annotations

import time

import pytest

from pillm.errors import Unavailable
from pillm.performance.sampler import BETWEEN, IDLE, Sampler, joules
from pillm.performance.sensors import Reading, Sensors
from tests.recorded import RecordedMachine


def power(*pairs: tuple[float, float | None]) -> list[Reading]:
    return [Reading(time=at, power_w=watts) for at, watts in pairs]


def test_it_reads_from_the_first_moment_to_the_last() -> None:
    board = RecordedMachine()
    board.commands["vcgencmd get_throttled"] = ["throttled=0x0\n", "throttled=0x0\n", "throttled=0x20000\n"]
    with Sampler(Sensors(board), every=0.02) as sampler:
        time.sleep(0.15)
    assert len(sampler.readings) >= 4
    assert (sampler.readings[0].throttled, sampler.readings[-1].throttled) == (0, 0x20000)
    times = [one.time for one in sampler.readings]
    assert times == sorted(times)


def test_a_machine_that_goes_away_ends_the_sampling_and_not_the_work() -> None:
    class Gone(RecordedMachine):
        def read(self, path: str) -> str | None:
            raise Unavailable("the board does not answer.")

    sensors = Sensors(RecordedMachine())
    sensors._machine = Gone()
    with Sampler(sensors, every=0.01) as sampler:
        time.sleep(0.05)
    assert sampler.failed == "the board does not answer."
    assert sampler.readings == ()


def test_energy_is_power_over_time_beyond_idling() -> None:
    readings = power((0, 3.0), (1, 5.0), (2, 5.0), (3, 5.0), (4, 3.0))
    assert joules(readings, [(1.0, 3.0)], 3.0) == pytest.approx(4.0)
    assert joules(readings, [(0.0, 1.0)], 3.0) == pytest.approx(1.0), "it rises evenly"
    assert joules(readings, [(1.25, 1.5), (2.0, 2.25)], 3.0) == pytest.approx(1.0)


def test_energy_is_not_made_up_where_power_was_not_read() -> None:
    assert joules(power((0, None), (1, None)), [(0.0, 1.0)], 0.0) is None
    assert joules(power((1, 5.0), (2, 5.0)), [(0.5, 1.5)], 0.0) is None
    assert joules(power((1, 5.0)), [(1.0, 1.0)], 0.0) is None


def test_each_reading_says_during_what_it_was_taken() -> None:
    with Sampler(Sensors(RecordedMachine()), every=60.0) as sampler:
        with sampler.part("headline"):
            with sampler.during("pp"):
                sampler.take()
            sampler.take()
        with sampler.part("sustained"), sampler.during("sustained"):
            sampler.take()
    assert [one.phase for one in sampler.readings] == [IDLE, "pp", BETWEEN, BETWEEN, "sustained", BETWEEN, BETWEEN]
    assert sampler.parts == ("headline", "sustained")
    assert [one.phase for one in sampler.of("headline")] == [IDLE, "pp", BETWEEN, BETWEEN], "from just before it to its end"
    assert [one.phase for one in sampler.of("sustained")] == [BETWEEN, "sustained", BETWEEN]
    assert sampler.of("prefix") == ()


def test_a_reading_during_which_the_work_ended_is_of_neither() -> None:
    sampler = Sampler(Sensors(RecordedMachine()))

    class Slow(RecordedMachine):
        def read(self, path: str) -> str | None:
            sampler._phase = BETWEEN
            return super().read(path)

    sampler._sensors._machine = Slow()
    with sampler.during("tg"):
        sampler.take()
    assert [one.phase for one in sampler.readings] == [BETWEEN]


def test_a_part_is_found_among_readings_of_which_most_were_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm.performance.sampler._MOST", 5)
    with Sampler(Sensors(RecordedMachine()), every=60.0) as sampler:
        for name in ("headline", "sustained"):
            with sampler.part(name), sampler.during(name):
                for _ in range(9):
                    sampler.take()
    assert len(sampler.readings) < 12
    for name, first in (("headline", IDLE), ("sustained", BETWEEN)):
        phases = [one.phase for one in sampler.of(name)]
        assert (phases[0], phases[-1]) == (first, BETWEEN), "its bounds are never dropped"
        assert set(phases[1:-1]) <= {name}
