"""Labelling through a server that does its worst: every row accounted for, nothing bought twice, no pause broken."""

import json
import random
import sqlite3
import time
from contextlib import closing, suppress

import pytest
from pillm_openai_asking import teacher
from pillm_openai_hostile import Hostile, Trick, Watch

import pillm

SHARES = [
    ("refuses", 0.10), ("refuses and says how long", 0.10), ("fails", 0.05), ("overloaded", 0.03), ("bad gateway", 0.02),
    ("hangs", 0.03), ("cut", 0.02), ("breaks", 0.02), ("errs", 0.02), ("null choices", 0.01), ("null content", 0.01),
    ("length", 0.02), ("redirects", 0.002), ("huge", 0.001), ("drops", 0.01), ("answers", 0.557),
]  # fmt: skip
IN_FLIGHT = 16


def worst(seed):
    dice, names, shares = random.Random(seed), *zip(*SHARES, strict=True)

    def choose(number, text):
        [name] = dice.choices(names, shares)
        if name == "refuses and says how long":
            return Trick("refuses", 0.12, dice.choice(["retry-after", "retry-after-ms"]))
        return Trick(name, 5.0 if name == "hangs" else 0.0)

    return choose


def prompts(count):
    return [pillm.Prompt(id=f"r{n}", messages=({"role": "user", "content": f"ça {n}"},)) for n in range(count)]


def label_until_done(rows, asked, out):
    """Give the same command until it has nothing left to ask; return its counts and how often it was given."""
    for times in range(1, 40):
        with suppress(pillm.Unavailable):
            counts = pillm.label(rows, asked, out).counts.to_json()
            if counts["answered"] + counts["rejected"] == len(rows):
                return counts, times
        time.sleep(0.2)  # a new command knows nothing of the pause that an old one was told to keep
    raise AssertionError("it never came to an end")


def stored(out):
    with closing(sqlite3.connect(out / "answers.sqlite")) as database:
        return database.execute("select count(*), count(distinct key) from answers").fetchone()


def survives(seed, count, out, watch):
    rows = prompts(count)
    with Hostile(worst(seed), delay=0.01, watch=watch) as server:
        asked = teacher(server, concurrency=IN_FLIGHT, backoff=0.02, timeout=1.0)
        counts, times = label_until_done(rows, asked, out)
    said = server.ledger
    print(f"seed {seed}: {counts}, {said.calls} calls in {times} commands, {dict(said.tricks)}")
    print(f"  inside a pause: {said.inside_a_pause}, most in flight: {said.most_at_once} of {IN_FLIGHT}")
    assert counts["in"] == count == counts["answered"] + counts["rejected"]
    assert counts["rejected"] == said.tricks["length"]
    assert said.inside_a_pause == 0
    assert said.most_at_once <= IN_FLIGHT
    assert sorted(said.successes.values()) == [1] * count
    assert stored(out) == (count, count)
    lines = [json.loads(line) for line in (out / "labelled.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [row.id for row in rows if row.id in {line["id"] for line in lines}]


def test_three_hundred_rows_survive_a_hostile_server(tmp_path, monkeypatch):
    survives(1, 300, tmp_path, Watch(monkeypatch))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_two_thousand_rows_survive_a_hostile_server(seed, tmp_path, monkeypatch):
    survives(seed, 2000, tmp_path, Watch(monkeypatch))


@pytest.mark.parametrize("end", ["insufficient_quota", "invalid_api_key"])
def test_the_end_of_the_money_stops_the_run_within_the_calls_in_flight_and_the_same_command_resumes(end, tmp_path):
    rows, paid, refused = prompts(120), [40], []

    def choose(number, text):
        if paid[0] > 0:
            paid[0] -= 1
            return Trick("answers")
        refused.append(number)
        return Trick(end)

    with Hostile(choose, delay=0.02) as server:
        asked = teacher(server, concurrency=IN_FLIGHT)
        with pytest.raises(pillm.Unavailable, match="same command resumes") as stopped:
            pillm.label(rows, asked, tmp_path)
        assert stopped.value.exit_code == 5
        assert 1 <= len(refused) <= IN_FLIGHT
        calls = len(refused)
        paid[0] = 1000
        counts = pillm.label(rows, asked, tmp_path).counts.to_json()
    print(f"{end}: {calls} calls after the end, limit {IN_FLIGHT}; then {counts}")
    assert counts["answered"] == 120
    assert sorted(server.ledger.successes.values()) == [1] * 120
