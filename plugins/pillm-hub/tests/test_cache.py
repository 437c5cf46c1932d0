"""The cache on this machine: shared with other programs, believed only where its bytes are proved."""

from __future__ import annotations

import hashlib
import os
from collections import namedtuple
from pathlib import Path

import pytest
from pillm_hub import cache as cache_module
from pillm_hub.cache import Cache, digest_of

import pillm

COMMIT = "c" * 40
DATA = b"some weights"
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def held(tmp_path: Path) -> Cache:
    """Give a cache with one blob."""
    held = Cache.of("acme/tiny", tmp_path)
    held.blob(SHA256).parent.mkdir(parents=True)
    held.blob(SHA256).write_bytes(DATA)
    return held


def test_a_digest_is_the_sha256_or_what_git_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    assert digest_of(path, "git:") == "git:ce013625030ba8dba906f756967f9e9ca394464a"
    assert digest_of(path, "sha256:") == f"sha256:{hashlib.sha256(b'hello' + bytes([10])).hexdigest()}"


def test_bytes_are_here_only_where_size_and_hash_are_right(held: Cache) -> None:
    assert held.has(SHA256, len(DATA))
    held.blob(SHA256).write_bytes(DATA[:-1] + b"X")
    assert not held.has(SHA256, len(DATA))
    assert not held.has(SHA256, len(DATA) + 1)
    assert not held.has(f"sha256:{'0' * 64}", 1)


def test_a_link_is_made_once_and_replaces_what_somebody_put_there(held: Cache) -> None:
    place = held.link(COMMIT, "model.safetensors", SHA256)
    assert place.is_symlink()
    assert place.read_bytes() == DATA
    assert held.link(COMMIT, "model.safetensors", SHA256) == place
    place.unlink()
    place.write_bytes(b"other weights")
    assert held.link(COMMIT, "model.safetensors", SHA256).read_bytes() == DATA


def test_where_the_disk_knows_no_links_the_file_is_copied(held: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    place = held.link(COMMIT, "model.safetensors", SHA256)
    assert not place.is_symlink()
    assert place.read_bytes() == DATA


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_opened(held: Cache) -> None:
    held.snapshot(COMMIT).mkdir(parents=True)
    os.mkfifo(held.snapshot(COMMIT) / "config.json")
    with pytest.raises(pillm.UnsafeError, match="pipe"):
        held.link(COMMIT, "config.json", SHA256)
    with pytest.raises(pillm.UnsafeError, match="pipe"):
        held.whole(COMMIT)


def test_a_commit_is_whole_once_its_weights_are_here(held: Cache) -> None:
    assert held.whole(COMMIT) is None
    held.link(COMMIT, "config.json", SHA256)
    assert held.whole(COMMIT) is None
    held.link(COMMIT, "model.safetensors", SHA256)
    assert held.whole(COMMIT) is None
    held.link(COMMIT, "tokenizer.json", SHA256)
    assert held.whole(COMMIT) == held.snapshot(COMMIT)
    (held.snapshot(COMMIT) / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    assert held.whole(COMMIT) is None


def test_a_commit_without_its_tokenizer_is_not_whole_but_an_adapter_may_have_its_bases(held: Cache) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        held.link(COMMIT, name, SHA256)
    assert held.lacking(COMMIT) == "a tokenizer"
    (held.snapshot(COMMIT) / "config.json").rename(held.snapshot(COMMIT) / "adapter_config.json")
    assert held.whole(COMMIT) == held.snapshot(COMMIT)


def test_a_revision_is_remembered_and_a_commit_needs_no_memory(held: Cache) -> None:
    assert held.commit_of("v1") is None
    held.remember("v1", COMMIT)
    held.remember("", COMMIT)
    assert held.commit_of("v1") == held.commit_of(None) == held.commit_of(COMMIT) == COMMIT
    assert held.commit_of("../../x") is None
    (held.home / "refs" / "main").write_text("not a commit")
    assert held.commit_of("main") is None


def test_one_process_at_a_time_fetches_a_file(held: Cache) -> None:
    digest = f"sha256:{'1' * 64}"
    with held.part(digest) as (path, file):
        file.write(b"half")
        file.flush()
        with pytest.raises(pillm.Unavailable, match="another process"), held.part(digest):
            pass
    with held.part(digest) as (again, file):
        assert again == path
        assert file.tell() == 4


def test_space_is_asked_for_before_anything_is_fetched(held: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage(10**12, 0, 10**9))
    held.require_space(0, "acme/tiny")
    held.require_space(9 * 10**8, "acme/tiny")
    with pytest.raises(pillm.StorageError, match=r"needs 1\.00 GB.*has 1\.00 GB free.*HF_HOME"):
        held.require_space(10**9, "acme/tiny")
