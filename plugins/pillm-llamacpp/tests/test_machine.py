"""How much memory a cache may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pillm_llamacpp.inference.machine import free_memory, memory_sizes, prefers_huge_pages

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: {32 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {8 * 2**20} kB\n")
    (folder / "self/cgroup").write_text("4:memory:/old\n0::/a/b\n")
    return folder


def limit(group: Path, most: str, used: int, cached: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - cached}\nfile {cached}\n")


def test_memory_is_free_as_far_as_the_system_says(proc: Path, tmp_path: Path) -> None:
    assert free_memory(proc, tmp_path / "none") == 8 * GIB


def test_the_limit_of_a_container_or_of_one_around_it_counts_and_cached_files_do_not(proc: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    limit(groups / "a/b", "max", GIB, 0)
    assert free_memory(proc, groups) == 8 * GIB
    limit(groups / "a", str(4 * GIB), 3 * GIB, GIB)
    assert free_memory(proc, groups) == 2 * GIB
    limit(groups / "a/b", str(GIB), GIB, 0)
    assert free_memory(proc, groups) == 0


def test_a_system_that_does_not_say_what_is_free_is_taken_for_half_full(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert free_memory(tmp_path, tmp_path) == physical // 2


def test_this_machine_has_memory() -> None:
    assert 0 < free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("offered", "size", "free", "copied"),
    [
        ("always [madvise] never", GIB, 4 * GIB, True),
        ("[always] madvise never", GIB, 2 * GIB, True),
        ("always madvise [never]", GIB, 4 * GIB, False),
        (None, GIB, 4 * GIB, False),
        ("always [madvise] never", GIB, 2 * GIB - 1, False),
        ("always [madvise] never", 1 << 20, 4 * GIB, False),
    ],
)
def test_weights_are_copied_into_huge_pages_where_there_are_any_and_half_of_the_memory_stays_free(
    tmp_path: Path, offered: str | None, size: int, free: int, copied: bool
) -> None:
    if offered is not None:
        (tmp_path / "transparent_hugepage").mkdir()
        (tmp_path / "transparent_hugepage" / "enabled").write_text(offered)
    assert prefers_huge_pages(size, free, tmp_path) is copied


def test_what_a_process_takes_is_read_in_bytes_and_odd_lines_are_passed_over() -> None:
    status = "Name:\tx\nVmHWM:\t  2048 kB\nRssAnon:\t 10 kB\n\nRssFile:\n"
    assert memory_sizes(status, "Rss: 1 kB\nPss: 4 kB\n", "") == {"peak": 2048 * 1024, "anonymous": 10240, "pss": 4096}
