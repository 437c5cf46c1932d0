from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pillm_llamacpp import source
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.families import Part
from pillm_llamacpp.writing.shards import Reader
from pillm_llamacpp.writing.streaming import AT_ONCE, Chunk, _chunks, _side_by_side
from pillm_llamacpp.writing.writer import Writing, write
from pillm_llamacpp_students import save_as, write_student, written

import pillm


def test_chunks_cover_every_row_once_and_keep_heads_whole() -> None:
    plan = [
        Part("a.weight", (3000, 1000), None),
        Part("q.weight", (3 * 2**9, 2**9), None, heads=3),
        Part("norm.weight", (500,), None, exact=True),
    ]
    with Reader() as reader:
        chunks = list(_chunks(plan, {}, reader))
    for number, part in enumerate(plan):
        mine = [chunk for chunk in chunks if chunk.number == number]
        rows = 1 if len(part.shape) == 1 else part.shape[0]
        assert [chunk.first for chunk in mine] == list(np.cumsum([0, *(chunk.rows for chunk in mine)]))[:-1]
        assert sum(chunk.rows for chunk in mine) == rows
        assert all(chunk.rows * part.shape[-1] <= AT_ONCE for chunk in mine)
    assert {chunk.rows for chunk in chunks if chunk.number == 1} == {2**9}


def test_only_a_few_chunks_are_on_their_way() -> None:
    part = Part("a.weight", (1, 1), None)
    under_way, most, lock = 0, 0, threading.Lock()
    begun = 0

    def work(chunk: Chunk) -> int:
        nonlocal under_way
        with lock:
            under_way -= 1
        return 1

    def chunks() -> Iterator[Chunk]:
        nonlocal under_way, most, begun
        for number in range(200):
            begun = number
            with lock:
                under_way += 1
                most = max(most, under_way)
            yield Chunk(number, part, 0, 1, None)

    assert list(_side_by_side(chunks(), work, 2))[-1] == 200
    assert most <= 5
    assert begun == 199


def test_the_first_error_ends_the_pass() -> None:
    part, seen = Part("a.weight", (1, 1), None), []

    def work(chunk: Chunk) -> int:
        seen.append(chunk.number)
        if chunk.number == 3:
            raise Refusal("data", "broken")
        time.sleep(0.001)
        return 1

    with pytest.raises(Refusal, match="broken"):
        list(_side_by_side((Chunk(number, part, 0, 1, None) for number in range(500)), work, 2))
    assert len(seen) < 20


_FULL_DISK = """
import resource, sys
from pathlib import Path
import pillm
from pillm_llamacpp import source
from pillm_llamacpp.writing.writer import Writing, write
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
told = Writing(tree=str(source.require()), texts=sys.argv[1], weights=sys.argv[1], derived="gpt-2")
try:
    write(told, {"F16": Path(sys.argv[2])}, pillm.Progress())
except pillm.StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [1000, 200_000])
def test_a_disk_that_is_full_is_said_before_anything_is_computed(limit: int, tmp_path: Path) -> None:
    folder, target = write_student(tmp_path / "student", "smollm3"), tmp_path / "x.gguf"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(folder), str(target), str(limit)], capture_output=True, text=True, check=False
    )
    assert f"{target} could not be written" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


_PEAK = """
import sys
from pathlib import Path
from pillm_llamacpp.writing.streaming import write
told = {"tree": sys.argv[1], "texts": sys.argv[2], "weights": sys.argv[2], "adapter": None, "vocabulary": None, "pre": None,
        "derived": "gpt-2", "stops": [], "keys": {}, "metadata": {}, "threads": 1, "alone": False,
        "outputs": [[sys.argv[3], "Q8_0"]]}
write(told, lambda **_: None)
# what getrusage says also counts the parent's memory, from before this program was loaded
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    peaks = []
    for rows in (1000, 40_000):
        folder = write_student(tmp_path / str(rows), "mistral")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows, "hidden_size": 1024}))
        table = np.ones((rows, 1024), np.float32)
        save_as({"model.embed_tokens.weight": table, "lm_head.weight": table}, folder / "model.safetensors", "F16")
        told = (str(source.require()), str(folder), str(tmp_path / f"{rows}.gguf"))
        done = subprocess.run([sys.executable, "-c", _PEAK, *told], capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 40_000  # KiB, where the file grew by 80 MB and the tables by 320 MB in memory


def test_a_file_is_read_once_however_many_are_written(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", "mistral")
    events: list[pillm.Event] = []
    told = Writing(tree=str(source.require()), texts=str(folder), weights=str(folder), derived="gpt-2")
    write(told, {kind: tmp_path / f"{kind}.gguf" for kind in ("F16", "Q8_0")}, pillm.Progress("x", (events.append,)))
    last = [event for event in events if event.kind == "advance"][-1]
    weights = folder / "model.safetensors"
    header = int.from_bytes(weights.read_bytes()[:8], "little")
    assert last.done == last.total == weights.stat().st_size - 8 - header


def test_nothing_is_left_of_a_pass_that_is_refused(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", "mistral")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(pillm.DataError, match="it was not copied whole"):
        written(folder, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
