"""Two measurements are compared only where they are of the same thing, and chance is told from change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pillm.artifacts import Benchmark
from pillm.errors import DataError
from pillm.performance.benchmark import BenchWork, Point
from pillm.performance.comparing import caveats, check_comparable, compare, differences
from pillm.performance.preflight import Conditions


def record(decode: tuple[float, ...] = (8.0, 8.1, 7.9), **more: Any) -> Benchmark:
    facts: dict[str, Any] = {
        "model": "m.gguf", "device": "local", "basis": "measured", "pp_tps": 40.0, "tg_tps": sorted(decode)[len(decode) // 2],
        "threads": 4, "sha256": "a" * 64, "samples": {"pp_tps": [40.0, 40.1, 39.9], "tg_tps": list(decode)},
        "conditions": Conditions(model="Raspberry Pi 4"),
    }  # fmt: skip
    return Benchmark(**facts | more)


def test_a_slower_file_is_worse_and_a_faster_one_better() -> None:
    found = compare(record(), record((7.0, 7.1, 6.9)))
    by = {one.figure: one for one in found.changes}
    assert by["tg_tps"].word == "worse"
    assert by["pp_tps"].word == "the same"
    assert found.sentence.startswith("Decode is 12.5% slower (8 to 7 t/s, 95 % interval of the ratio 0.85")
    assert found.sentence.endswith("prefill is as fast as before (40 t/s).")
    assert compare(record((7.0, 7.1, 7.0)), record()).changes[0].word == "better"


def test_a_sample_or_two_say_nothing_of_chance() -> None:
    found = compare(record((7.0, 7.0)), record())
    assert found.changes[0].word == "unsure"
    assert "which may be chance (7 to 8 t/s, too few samples for an interval)" in found.sentence


def test_what_may_be_chance_is_called_so() -> None:
    found = compare(record((8.0, 6.0, 10.0)), record((7.0, 5.0, 10.5)))
    assert found.changes[0].word == "unsure"
    assert "slower, which may be chance" in found.sentence


def test_less_memory_is_better_and_points_of_both_are_compared() -> None:
    point = Point.of(BenchWork(kind="tg", tokens=128, depth=512), [7.0, 7.1])
    headline = Point.of(BenchWork(kind="tg", tokens=128), [8.0])
    left = record(peak_memory=900, points=(headline, point))
    right = record(peak_memory=800, points=(headline, replace(point, speed=replace(point.speed, samples=(7.0, 7.05)))))
    by = {one.figure: one.word for one in compare(left, right).changes}
    assert by["peak_memory"] == "better"
    assert list(by) == ["tg_tps", "pp_tps", "tg128 @ d512", "peak_memory"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sha256": "b" * 64}, r"model m\.gguf \(aaaaaaaaaaaa\), not m\.gguf \(bbbbbbbbbbbb\)"),
        ({"sha256": None, "model": "n.gguf"}, r"model m\.gguf, not n\.gguf"),
        ({"threads": 2}, "threads 4, not 2"),
        ({"device": "pi@shed"}, "device local, not pi@shed"),
        ({"conditions": Conditions(model="Xeon")}, r"device local \(Raspberry Pi 4\), not local \(Xeon\)"),
        ({"pp": 64}, "pp 512, not 64"),
        ({"tg": 64}, "tg 128, not 64"),
        ({"basis": "emulated"}, "basis measured, not emulated"),
    ],
)
def test_records_of_something_else_are_refused_by_name(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=f"old was measured with {reason}: it cannot be compared with new"):
        check_comparable(record(), record(**changed), ("old", "new"))


def test_a_void_record_is_never_compared() -> None:
    for left, right, name in ((record(void=("it was hot",)), record(), "old"), (record(), record(void=("it was hot",)), "new")):
        with pytest.raises(DataError, match=rf"{name} is void \(it was hot\)"):
            check_comparable(left, right, ("old", "new"), ("model", "device", "threads"))


def test_what_is_asked_for_may_differ() -> None:
    other = record(sha256="b" * 64, threads=2, conditions=Conditions(model="Xeon"))
    check_comparable(record(), other, ("a", "b"), ("model", "device", "threads"))
    with pytest.raises(DataError, match=r"--across model\|device\|threads"):
        check_comparable(record(), other, ("a", "b"), ("model", "device"))


def test_a_renamed_file_and_what_is_unknown_pass() -> None:
    assert list(differences(record(), record(model="renamed.gguf"))) == []
    assert list(differences(record(), record(sha256=None, threads=None, conditions=None))) == []


BOARD = Conditions(
    model="Raspberry Pi 4",
    machine_id="a1",
    max_mhz=1800.0,
    limit_mhz=1800.0,
    governor="performance",
    kernel="6.12",
    firmware="x",
)


@pytest.mark.parametrize(
    ("changed", "caveat"),
    [
        ({"conditions": replace(BOARD, limit_mhz=1500.0)}, "the clock was limited to 1800 MHz, then to 1500"),
        ({"conditions": replace(BOARD, machine_id="b2")}, "another machine of the same kind, or one that was installed anew"),
        ({"conditions": replace(BOARD, governor="ondemand")}, "governor performance, then ondemand"),
        ({"conditions": replace(BOARD, kernel="6.18")}, "kernel 6.12, then 6.18"),
        ({"build": "llama.cpp 1234"}, "another build: llama.cpp 0c1e, then llama.cpp 1234"),
        ({"repack": False}, "weights arranged anew for the processor, then as they are in the file"),
        ({"runner": "server"}, "runner local, then server"),
    ],
)
def test_what_was_not_alike_is_named_beside_the_comparison(changed: dict[str, Any], caveat: str) -> None:
    facts: dict[str, Any] = {"conditions": BOARD, "build": "llama.cpp 0c1e", "repack": True, "runner": "local"}
    left, right = record(**facts), record(**facts | changed)
    check_comparable(left, right, ("old", "new"))
    assert compare(left, right).caveats == (caveat,)
    assert list(caveats(left, left)) == []


def test_what_one_side_does_not_tell_is_no_caveat() -> None:
    known = record(conditions=BOARD, build="llama.cpp 0c1e", repack=True, runner="local")
    for unknown in (record(conditions=Conditions()), record(conditions=None)):
        assert list(caveats(known, unknown)) == []
        assert list(caveats(unknown, known)) == []
