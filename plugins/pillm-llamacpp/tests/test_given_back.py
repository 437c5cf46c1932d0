"""Which pages of a model file a server still reads once its weights were laid out anew: what a plan calls reclaimable."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from pathlib import Path

import pytest
from pillm_llamacpp.measuring.timefiles import SMALL, write_file
from pillm_llamacpp_llamatools import tool

import pillm
from pillm.devices.detection import processor_flags
from pillm.devices.memory import reclaimable
from pillm.devices.repacking import TILES, repacked_by
from pillm.devices.shapes import shape_of
from pillm.machines import LocalMachine
from pillm.remote.sockets import ask


@pytest.mark.full
@pytest.mark.parametrize("words", [(), ("--no-repack",)], ids=["copied", "as they lie"])
def test_pages_of_weights_that_were_laid_out_anew_are_not_read_again(tmp_path: Path, words: tuple[str, ...]) -> None:
    types = repacked_by(processor_flags(LocalMachine()) - {TILES})
    if not types:
        pytest.skip("not installed: a processor for which llama.cpp lays weights out anew")
    file = write_file(tmp_path / "model.gguf", SMALL, "Q4_0")
    socket = tmp_path / "s.sock"
    argv = [tool("llama-server"), "-m", file, "--host", socket, "-c", "256", "-np", "1", "-t", "1", *words]
    server = subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        written(server, socket)
        Path(f"/proc/{server.pid}/clear_refs").write_text("1", "ascii")
        written(server, socket)
        read = referenced(server.pid, file)
    finally:
        server.terminate()
        server.wait(30)
    spare = reclaimable(shape_of(file), pillm.device("pi5-8gb"))
    assert spare > 0.95 * file.stat().st_size
    # rows of the embedding are looked up where they lie, a page each
    assert read < 0.03 * spare if not words else read > 0.95 * spare


def written(server: subprocess.Popen[bytes], socket: Path) -> None:
    """Have a few tokens written, once the server answers at all."""
    body = {"prompt": [5, 6, 7, 8], "n_predict": 8, "cache_prompt": False}
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError):  # it does not listen yet
            status, _ = ask(socket, "/completion", body, timeout=30.0)
            if status == 200:
                return
        time.sleep(0.1)
    raise AssertionError("no answer")


def referenced(pid: int, file: Path) -> int:
    """Return the bytes of a mapped file that a process has touched since its marks were cleared."""
    found, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(str(file))
        elif ours and line.startswith("Referenced:"):
            found += 1024 * int(line.split()[1])
    return found
