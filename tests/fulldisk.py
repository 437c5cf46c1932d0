"""Label onto disks that are too small and count what a paid answer came to; run by `test_disk_full.py`.

`unshare -rm python -m tests.fulldisk --sizes N` prints its counts as one JSON object. Each disk is a tmpfs of its own, from one
page up to nearly what the run needs; what the teacher sold, and what it saw the stage take from it, stands on another disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pillm.backends import Teacher
from pillm.cli.program import main as pillm_command
from pillm.hookspecs import hookimpl
from pillm.records import Answer, Failure, Request
from pillm.testing import installed_plugin
from tests.crashes import Counts, rows, sold, stored

ROWS, CONCURRENCY = 60, 4
PAGE, AMPLE = 4096, 256 * 2**20
PLUGIN = "from tests.fulldisk import *\n"
"""The source of a plugin that provides the teacher of this module."""


class Wordy(Teacher):
    """Answers at length, several at once; writes down what it sold, and what was taken before it was asked to go on."""

    name: ClassVar[str] = "wordy"
    books: Path = Field(json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """Answer in the order of completion."""
        waiting: dict[Future[Answer], Request] = {}
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            feeding = True
            while feeding or waiting:
                while feeding and len(waiting) < CONCURRENCY:
                    request = next(requests, None)
                    if request is None:
                        feeding = False
                    else:
                        waiting[pool.submit(self._sell, request)] = request
                for done in wait(waiting, return_when=FIRST_COMPLETED).done if waiting else ():
                    request = waiting.pop(done)
                    yield request, done.result()
                    self._note("taken", request)  # whoever asks for more has stored this one

    def _sell(self, request: Request) -> Answer:
        self._note("ledger", request)
        chance = random.Random(request.key)
        time.sleep(chance.uniform(0, 0.002))
        return Answer(" ".join(f"{chance.getrandbits(64):x}" for _ in range(chance.randrange(1, 300))))

    def _note(self, book: str, request: Request) -> None:
        with (self.books / book).open("ab", buffering=0) as file:
            file.write(f"{request.key}\n".encode())


@hookimpl
def pillm_teachers() -> list[type[Teacher]]:
    """Return the teacher."""
    return [Wordy]


@contextmanager
def disk(size: int) -> Iterator[Path]:
    """Give a folder in which `out` is a disk of so many bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        lines = (json.dumps({"id": row.id, "user": row.text}) + "\n" for row in rows(ROWS))
        (folder / "prompts.jsonl").write_text("".join(lines))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder / "out"], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder / "out"], check=True)


def start(folder: Path) -> int:
    """Run `pillm label` in a child process and return its id; what it says goes beside the disk."""
    child = os.fork()
    if child:
        return child
    os.environ |= {"NO_COLOR": "1", "PYTHONWARNINGS": "error"}
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    words = ["label", folder / "prompts.jsonl", "--teacher", "wordy", "-o", f"books={folder}", "--out", folder / "out"]
    status = 70
    try:
        pillm_command([str(word) for word in words])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def label(folder: Path) -> int:
    """Run `pillm label` to its end and return its exit code; -9 and the like where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(start(folder), 0)[1])


def needed() -> int:
    """Return the most bytes that a run has on its disk."""
    with disk(AMPLE) as folder:
        child, most = start(folder), 0
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            found = os.statvfs(folder / "out")
            most = max(most, (found.f_blocks - found.f_bfree) * found.f_frsize)
            time.sleep(0.0005)
    return most


def sizes(number: int, most: int) -> list[int]:
    """Return so many sizes in whole pages, from one page to nearly `most`: close together where the store begins."""
    grown = [PAGE * (0.98 * most / PAGE) ** (step / (number - 1)) for step in range(number)]
    return [PAGE * max(1 + step, int(size) // PAGE) for step, size in enumerate(grown)]


def fill(size: int, counts: Counts) -> None:
    """Label onto a disk of that size; make it larger where it was full, and go on."""
    with disk(size) as folder:
        counts["disks"] += 1
        code = label(folder)
        counts["full"] += code != 0
        if code:
            counts["said otherwise"] += not clean(code, (folder / "stderr").read_text())
        taken = folder / "taken"
        acknowledged = set(taken.read_text().split()) if taken.exists() else set[str]()
        subprocess.run(["mount", "-o", f"remount,size={AMPLE}", folder / "out"], check=True)
        held, bought = stored(folder), sold(folder)
        counts["acknowledged"] += len(acknowledged)
        counts["acknowledged and lost"] += len(acknowledged - held)
        unstored = len(set(bought) - held)
        counts["paid and not stored"] += unstored
        counts["most not stored"] = max(counts["most not stored"], unstored)
        if label(folder) != 0:
            counts["failed"] += 1
            print(f"{size}: {(folder / 'stderr').read_text()}", file=sys.stderr)
            return
        counts.check_end(folder, ROWS, {key: bought[key] for key in held})


def clean(code: int, said: str) -> bool:
    """Say whether a command ended as a full disk should end it: one sentence that tells what to do."""
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    told = len(errors) == 1 and "no space is left on the disk" in errors[0] and "run the same command again" in errors[0]
    found = code == 1 and told and "Traceback" not in said and "Exception" not in said
    if not found:
        print(f"exit {code}: {said}", file=sys.stderr)
    return found


def main() -> None:
    """Fill the disks and print the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, default=8)
    asked = parser.parse_args()
    os.environ["PILLM_PLUGINS"] = "wordy"
    counts, began = Counts(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, installed_plugin(Path(name), "wordy", PLUGIN):
        most = needed()
        for size in sizes(asked.sizes, most):
            fill(size, counts)
    names = ("lost", "doubled", "disordered", "unverified", "bought again", "failed", "left over", "said otherwise")
    told = ("disks", "full", "finished", "acknowledged", "acknowledged and lost", "paid and not stored", "most not stored")
    found = {name: counts[name] for name in (*told, *names)}
    print(json.dumps({**found, "largest": most, "concurrency": CONCURRENCY, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
