"""A file's pages leave memory when they are dropped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pillm.performance.pagecache import cached, drop


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: other systems do not tell")
def test_a_dropped_file_is_cold_and_a_read_one_warm(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(4 << 20))
    if not drop(path):
        pytest.skip("needs a file system that drops its pages")
    assert cached(path) == 0.0
    path.read_bytes()
    assert cached(path) == 1.0


def test_an_empty_file_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    assert cached(tmp_path / "none") is None
    assert not drop(tmp_path / "none")
