"""Files exist whole or not at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pillm.errors import StorageError, Unavailable
from pillm.files import lock, replacing, storage_errors, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_written_as_utf8_with_a_newline_at_its_end(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": 1})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "é": 1\n}\n'.encode()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_remedy(number: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no space is left.*same command again"), storage_errors(tmp_path):
        raise OSError(number, "full")


def test_a_forbidden_folder_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Permission denied.*another --out"), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x"))


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    code = f"from pathlib import Path\nfrom pillm.files import lock\nwith lock(Path({str(tmp_path / '.lock')!r})): pass"
    with lock(tmp_path / ".lock"):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "is in use by process" in other.stderr
    with lock(tmp_path / ".lock"):
        pass


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom pillm.files import lock\n"
        f"with lock(Path({str(tmp_path / '.lock')!r})): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with lock(tmp_path / ".lock"):
        pass


def test_a_held_lock_is_unavailable_and_resumable(tmp_path: Path) -> None:
    with lock(tmp_path / ".lock"), pytest.raises(Unavailable) as caught, lock(tmp_path / ".lock"):
        pass
    assert caught.value.exit_code == 5
