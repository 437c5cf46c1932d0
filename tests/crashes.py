"""Kill labelling where it hurts and count what was lost, doubled or bought twice; run by `test_crashes.py`.

`python -m tests.crashes kill|term|points --kills N --concurrency C` prints its counts as one JSON object. The children are
forked from a process that has imported everything, so that a kill costs some tens of milliseconds. The teacher keeps a ledger
of what it sold, in a file of its own: what the store says is checked against it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from pillm.answers import AnswerStore
from pillm.backends import Teacher
from pillm.errors import Interrupted
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import LABELLED, STORE, label
from pillm.verification import verify
from tests.depot import Depot

LATENCY = 0.003


class Seller(Teacher):
    """Answers after a moment, several at once, and writes into a ledger what it sold."""

    name: ClassVar[str] = "seller"
    ledger: Path
    concurrency: int = 1

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        ledger = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        chance = random.Random(os.getpid())

        def sell(request: Request, seconds: float) -> Answer:
            os.write(ledger, f"{request.key}\n".encode())
            time.sleep(seconds)
            return Answer(f"said to {request.prompt.id}")

        waiting: dict[Future[Answer], Request] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            feeding = True
            while feeding or waiting:
                while feeding and len(waiting) < self.concurrency:
                    request = next(requests, None)
                    if request is None:
                        feeding = False
                    else:
                        waiting[pool.submit(sell, request, chance.uniform(0, 2 * LATENCY))] = request
                for done in wait(waiting, return_when=FIRST_COMPLETED).done if waiting else ():
                    yield waiting.pop(done), done.result()


def rows(count: int) -> list[Prompt]:
    """Return so many rows; the last two ask the same."""
    return [prompt_from_row({"id": f"r{i}", "user": f"question {min(i, count - 2)}"}) for i in range(count)]


def seller(folder: Path, concurrency: int) -> Teacher:
    """Return who sells: in batches of that many where `concurrency` is negative."""
    if concurrency < 0:
        return Depot(folder=folder / "depot", size=-concurrency)
    return Seller(ledger=folder / "ledger", concurrency=concurrency)


def work(folder: Path, count: int, concurrency: int, prepare: Callable[[], object] = bool) -> int:
    """Label in a child process and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        prepare()
        label(rows(count), seller(folder, concurrency), folder / "out")
        status = 0
    except Interrupted:
        status = 130
    finally:
        os._exit(status)


def sold(folder: Path) -> Counter[str]:
    """Return how often each answer was bought."""
    if (folder / "depot").exists():
        return Counter(Depot(folder=folder / "depot").sold())
    path = folder / "ledger"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def stored(folder: Path) -> set[str]:
    """Return the keys whose answers the store holds."""
    path = folder / "out" / STORE
    if not path.exists() or not path.stat().st_size:
        return set()
    with AnswerStore(path, read_only=True) as store:
        return {row[0] for row in store._run("SELECT key FROM answers")}


class Counts(Counter[str]):
    """What was counted: trials, kills, rows lost or doubled, stored answers bought again, calls repeated, most in flight."""

    def check_stop(self, folder: Path, held: dict[str, int]) -> None:
        """Look at a folder after a process of it ended: `held` is what was sold of the stored answers at each earlier stop."""
        bought = sold(folder)
        self["bought again"] += sum(bought[key] > times for key, times in held.items())
        for key in stored(folder):
            held.setdefault(key, bought[key])

    def check_end(self, folder: Path, count: int, held: dict[str, int]) -> None:
        """Look at a folder whose labelling came to its end."""
        self.check_stop(folder, held)
        written = [json.loads(line)["id"] for line in (folder / "out" / LABELLED).read_text().splitlines()]
        self["lost"] += len({row.id for row in rows(count)} - set(written))
        self["doubled"] += len(written) - len(set(written))
        self["disordered"] += written != [row.id for row in rows(count)]
        for wrong in verify(folder / "out"):
            self["unverified"] += 1
            print(wrong, file=sys.stderr)
        self["repeated"] += sum(times - 1 for times in sold(folder).values())
        self["left over"] += sum(path.name.endswith(".part") for path in (folder / "out").iterdir())
        self["finished"] += 1


def kill(number: int, concurrency: int, how: signal.Signals) -> Counts:
    """Stop labelling at random moments, so many times, and go on after each until it is done."""
    counts, chance, longest = Counts(), random.Random(concurrency), whole_run(40, concurrency)
    while counts["kills"] < number:
        with tempfile.TemporaryDirectory() as name:
            folder, held = Path(name), dict[str, int]()
            while True:
                child = work(folder, 40, concurrency)
                if counts["kills"] < number:
                    time.sleep(chance.uniform(0, longest))
                    with suppress(ProcessLookupError):
                        os.kill(child, how)
                _, status = os.waitpid(child, 0)
                counts["trials"] += 1
                if os.waitstatus_to_exitcode(status) == 0:
                    break
                counts["kills"] += 1
                counts.check_stop(folder, held)
            counts.check_end(folder, 40, held)
    return counts


def whole_run(count: int, concurrency: int) -> float:
    """Return the seconds that a run takes when nobody stops it."""
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        os.waitpid(work(Path(name), count, concurrency), 0)
        return time.monotonic() - began


def points(concurrency: int) -> Counts:
    """Kill labelling before its first write, before its second, and so on, until it is done without being killed."""
    counts, point = Counts(), 0
    while True:
        point += 1
        with tempfile.TemporaryDirectory() as name:
            folder, held = Path(name), dict[str, int]()
            _, status = os.waitpid(work(folder, 4, concurrency, partial(die_at, point)), 0)
            counts["trials"] += 1
            killed = os.waitstatus_to_exitcode(status) != 0
            counts["kills"] += killed
            counts.check_stop(folder, held)
            _, status = os.waitpid(work(folder, 4, concurrency), 0)
            counts["failed"] += os.waitstatus_to_exitcode(status) != 0
            counts.check_end(folder, 4, held)
        if not killed:
            return counts


def die_at(point: int) -> None:
    """Arrange that this process is killed at its n-th write: a statement of the store, or a file opened, renamed or removed."""
    left = [point]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, values: tuple[object, ...]) -> None:
        writes = event in ("os.rename", "os.remove", "os.mkdir")
        if writes or (event == "open" and isinstance(values[1], str) and set(values[1]) & set("wax+")):
            count()

    run = AnswerStore._run

    def counted(store: AnswerStore, statement: str, values: object = ()) -> object:
        if not statement.startswith("SELECT"):
            count()
        return run(store, statement, values)  # type: ignore[arg-type]

    AnswerStore._run = counted  # type: ignore[assignment,method-assign]
    sys.addaudithook(audit)


def main() -> None:
    """Run what is asked for and print the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kill", "term", "points"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=4, help="calls at once; -N: batches of N")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:  # whatever is imported at first use is imported here
        label(rows(4), seller(Path(name), asked.concurrency), Path(name, "out"))
    began = time.monotonic()
    if asked.what == "points":
        counts = points(asked.concurrency)
    else:
        counts = kill(asked.kills, asked.concurrency, signal.SIGKILL if asked.what == "kill" else signal.SIGTERM)
    names = ("lost", "doubled", "disordered", "unverified", "bought again", "repeated", "failed", "left over")
    found = {name: counts[name] for name in ("trials", "kills", "finished", *names)}
    print(json.dumps({**found, "concurrency": asked.concurrency, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
