"""What an interrupted measurement left is believed only where it is whole and of the same key."""

from __future__ import annotations

from pathlib import Path

from pillm_llamacpp.measuring.keeping import clear, holds, key_of, seal


def test_only_what_was_sealed_with_the_same_key_holds(tmp_path: Path) -> None:
    folder, key = tmp_path / "reference", key_of("weights", ("a", None))
    folder.mkdir()
    assert not holds(folder, key), "a folder that a kill left half-written has no seal"
    seal(folder, key)
    assert holds(folder, key)
    assert not holds(folder, key_of("other weights", ("a", None)))
    clear(folder)
    assert not folder.exists()
    assert not holds(folder, key)
    assert list(tmp_path.iterdir()) == []


def test_a_seal_without_its_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    path.write_bytes(b"x")
    seal(path, "key")
    path.unlink()
    assert not holds(path, "key")
    path.write_bytes(b"y")
    (tmp_path / "imatrix.gguf.key").write_bytes(b"\xff\xfe")
    assert not holds(path, "key")


def test_a_key_tells_texts_apart_however_they_are_cut() -> None:
    assert key_of(("ab", "c")) != key_of(("a", "bc"))
    assert key_of("é", {"b": 1, "a": 2}) == key_of("é", {"a": 2, "b": 1})
