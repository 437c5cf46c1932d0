"""The conformance kit for sources and publishers: it passes good ones and says which rule a bad one breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.testing import ConformanceError, check_publisher, check_source
from pillm.testing.shelf import ShelfPublisher, ShelfSource

PATH = pillm.RemoteFile(name="a/b", bytes=0, digest="")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a model on the shelf."""
    folder = tmp_path / "shelf" / "acme" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("PILLM_SHELF", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def release(tmp_path: Path) -> pillm.Release:
    """Give a release of one file."""
    path = tmp_path / "student.gguf"
    path.write_bytes(b"GGUF")
    file = pillm.ReleaseFile(path=path, name=path.name, bytes=4, sha256=pillm.sha256_file(path))
    return pillm.Release(repository="acme/student", files=(file,))


def test_the_fakes_conform(shelf: Path, release: pillm.Release) -> None:
    assert check_source(ShelfSource(), "acme/tiny").name == "acme/tiny"
    check_publisher(ShelfPublisher(), release)


@pytest.mark.parametrize(
    ("method", "broken", "said"),
    [
        ("claims", lambda *_: True, "claims a text that is no name"),
        ("claims", lambda *_: False, "does not claim"),
        ("find", lambda find, *rest: replace(find(*rest), commit="main"), "not to 40 hex digits"),
        ("find", lambda find, *rest: replace(find(*rest), files=()), "neither which files"),
        (
            "find",
            lambda find, *rest: replace(find(*rest), files=(pillm.RemoteFile(name="a/b", bytes=0, digest=""),)),
            "is a path",
        ),
        ("find_here", lambda *_: None, "does not find on this machine"),
    ],
)
def test_a_source_that_breaks_a_rule_is_told_which(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, method: str, broken: Callable[..., Any], said: str
) -> None:
    kept = getattr(ShelfSource, method)
    monkeypatch.setattr(ShelfSource, method, lambda self, *rest: broken(lambda *more: kept(self, *more), *rest))
    with pytest.raises(ConformanceError, match=said):
        check_source(ShelfSource(), "acme/tiny")


def test_a_source_that_gives_other_bytes_is_told_so(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ShelfSource.fetch

    def forge(self: ShelfSource, *rest: Any, **more: Any) -> Path:
        folder = kept(self, *rest, **more)
        (folder / "config.json").write_text("other")
        return folder

    monkeypatch.setattr(ShelfSource, "fetch", forge)
    with pytest.raises(ConformanceError, match=r"other bytes of config\.json"):
        check_source(ShelfSource(), "acme/tiny")


@pytest.mark.parametrize(
    ("method", "broken", "said"),
    [
        ("look", lambda look, *rest: replace(look(*rest), states={}), "of every file how it stands"),
        ("publish", lambda publish, *rest: replace(publish(*rest), files=7), "does not say what it published"),
        ("publish", lambda publish, *rest: replace(publish(*rest), sent=1), "sends again"),
        ("publish", lambda _, release, __: pillm.Published(address="", commit="", files=1, sent=1), "is not what was sent"),
    ],
)
def test_a_publisher_that_breaks_a_rule_is_told_which(
    shelf: Path, release: pillm.Release, monkeypatch: pytest.MonkeyPatch, method: str, broken: Callable[..., Any], said: str
) -> None:
    kept = getattr(ShelfPublisher, method)
    monkeypatch.setattr(ShelfPublisher, method, lambda self, *rest: broken(lambda *more: kept(self, *more), *rest))
    with pytest.raises(ConformanceError, match=said):
        check_publisher(ShelfPublisher(), release)
