"""A machine is read from and run on, and says what it could not do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pillm.errors import BackendError, MissingDependency, Unavailable
from pillm.machines import LocalMachine


def test_a_file_that_is_not_there_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("0.10 0.20 0.30 1/99 1\n")
    machine = LocalMachine(root=tmp_path)
    assert machine.read("/proc/loadavg") == "0.10 0.20 0.30 1/99 1\n"
    assert machine.read("/proc/none") is None
    assert machine.read("/proc") is None


def test_a_command_returns_what_it_printed() -> None:
    assert LocalMachine().run([sys.executable, "-c", "print('a; b $HOME')"]) == "a; b $HOME\n"


def test_a_command_that_is_missing_fails_or_hangs_is_named() -> None:
    machine = LocalMachine("the board")
    with pytest.raises(MissingDependency, match="no-such-thing is not installed on the board"):
        machine.run(["no-such-thing"])
    with pytest.raises(BackendError, match=r"status 3\. It last said: out of luck"):
        machine.run([sys.executable, "-c", "import sys; sys.exit(sys.stderr.write('out of luck') and 3)"])
    with pytest.raises(Unavailable, match="longer than 0 s"):
        machine.run([sys.executable, "-c", "import time; time.sleep(9)"], timeout=0.1)
