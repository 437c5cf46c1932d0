"""The source `hub`: what is found, what is fetched, and from where."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from pillm_hub import HubSource
from pillm_hub import source as source_module
from pillm_hub.wanted import INDEX

import pillm
from pillm.testing import FakeHub
from pillm.testing.hostile import SOUND
from pillm.testing.hubstate import SAMPLE

WEIGHTS = SAMPLE["model.safetensors"]
CONFIG = SAMPLE["config.json"]
Get = Callable[..., Path]

SHARDS = {f"model-0000{part}-of-00002.safetensors": bytes([part]) * 3000 for part in (1, 2)}
SHARDED = {
    "config.json": CONFIG,
    INDEX: json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode(),
    **SHARDS,
    "consolidated.safetensors": b"the same again",
}


def names(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_pinned_and_brings_no_code_and_no_pickle(hub: FakeHub, source: HubSource, events: list[pillm.Event]) -> None:
    commit = hub.put("acme/tiny", {**SAMPLE, "evil.py": b"raise", "pytorch_model.bin": b"a pickle", "onnx/config.json": b"{}"})
    found = source.find("acme/tiny")
    assert (found.commit, found.identity, found.left_out) == (commit, f"acme/tiny@{commit}", ("evil.py", "pytorch_model.bin"))
    assert found.missing_bytes == sum(map(len, SAMPLE.values()))
    folder = source.fetch(found, pillm.Progress("fetch", (events.append,)))
    assert names(folder) == sorted(SAMPLE)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == SAMPLE
    assert "evil.py, pytorch_model.bin" in events[-1].message
    assert all(f"/resolve/{commit}/" in path for path in hub.read())


def test_what_is_here_is_not_fetched_again_and_a_commit_not_even_asked_for(hub: FakeHub, source: HubSource, get: Get) -> None:
    folder, commit = get(), source.find("acme/tiny").commit
    hub.calls.clear()
    source_module._ASKED.clear()
    assert get() == folder
    assert [call.path for call in hub.calls] == ["/api/models/acme/tiny"]
    hub.calls.clear()
    assert get(revision=commit) == folder
    assert not hub.calls


def test_a_branch_that_moves_changes_nothing_for_this_process(hub: FakeHub, source: HubSource) -> None:
    found = source.find("acme/tiny")
    moved = hub.put("acme/tiny", {**SAMPLE, "model.safetensors": b"new weights"})
    again = source.find("acme/tiny")
    folder = source.fetch(again, pillm.Progress())
    assert again.commit == found.commit != moved
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    source_module._ASKED.clear()
    assert source.find("acme/tiny").commit == moved


def test_a_tag_and_a_branch_are_found_and_their_commit_is_remembered(hub: FakeHub, source: HubSource, get: Get) -> None:
    old = hub.repositories["acme/tiny"].refs["main"]
    hub.repositories["acme/tiny"].refs["v1"] = old
    hub.put("acme/tiny", {**SAMPLE, "model.safetensors": b"new weights"})
    assert (get(revision="v1") / "model.safetensors").read_bytes() == WEIGHTS
    here = source.find_here("acme/tiny", "v1")
    assert here is not None
    assert here.commit == old
    assert source.find_here("acme/tiny") is None


def test_a_branch_is_remembered_where_its_commit_was_fetched_by_itself(source: HubSource) -> None:
    found = source.find("acme/tiny")
    source.fetch(source.find("acme/tiny", found.commit), pillm.Progress())
    assert source.find_here("acme/tiny") is not None
    assert source.find_here("acme/tiny", "main") is not None
    assert source.find_here("acme/tiny", "v1") is None


def test_out_of_reach_what_is_whole_here_is_taken_and_that_is_said(
    hub: FakeHub, source: HubSource, get: Get, events: list[pillm.Event]
) -> None:
    folder = get()
    source_module._ASKED.clear()
    hub.refuse["info"] = (503, {})
    assert get(progress=pillm.Progress("fetch", (events.append,))) == folder
    assert "could not be asked whether main is another commit now" in events[-1].message
    hub.refuse["info"] = (429, {})
    assert get() == folder


def test_a_part_of_a_model_is_no_model(hub: FakeHub, source: HubSource, get: Get) -> None:
    hub.put("acme/big", SHARDED)
    folder = get("acme/big", only=("config.json",))
    assert names(folder) == ["config.json"]
    assert source.find_here("acme/big") is None
    assert [path.rpartition("/")[2] for path in hub.read()] == ["config.json"]


def test_of_sharded_weights_the_named_ones_are_fetched(hub: FakeHub, get: Get) -> None:
    hub.put("acme/big", SHARDED)
    assert names(get("acme/big")) == sorted(["config.json", INDEX, *SHARDS])


def test_a_shard_that_the_repository_lacks_is_named_before_the_others_are_fetched(hub: FakeHub, get: Get) -> None:
    hub.put("acme/big", {name: data for name, data in SHARDED.items() if name != "model-00002-of-00002.safetensors"})
    with pytest.raises(pillm.DataError, match="lacks model-00002-of-00002"):
        get("acme/big")
    assert not [call for call in hub.calls if call.path.startswith("/large/")]


def test_a_repository_without_a_configuration_is_no_model(hub: FakeHub, get: Get) -> None:
    hub.put("acme/bare", {"model.safetensors": WEIGHTS})
    with pytest.raises(pillm.DataError, match=r"lacks config\.json"):
        get("acme/bare")


def test_a_file_without_a_hash_is_refused(hub: FakeHub, source: HubSource, monkeypatch: pytest.MonkeyPatch) -> None:
    told = hub.repositories["acme/tiny"].told
    forged = {"siblings": [{"rfilename": "config.json", "blobId": "../x"}]}
    monkeypatch.setattr(hub.repositories["acme/tiny"], "told", lambda commit: told(commit) | forged)
    with pytest.raises(pillm.UnsafeError, match="without a hash"):
        source.find("acme/tiny")


@pytest.mark.parametrize("revision", ["../../main", "", "a b", "-x", "x" * 300])
def test_a_revision_that_can_be_none_is_not_asked_for(hub: FakeHub, source: HubSource, revision: str) -> None:
    with pytest.raises(pillm.DataError, match="no revision"):
        source.find("acme/tiny", revision)
    assert not hub.calls


def test_names_are_claimed_by_their_form() -> None:
    source = HubSource()
    assert source.claims("Qwen/Qwen3-0.6B")
    assert not source.claims("nano-teacher")
    assert not source.claims("../tiny")


def test_equal_files_are_fetched_once(hub: FakeHub, get: Get) -> None:
    same = {f"{name}.json": b'{"equal": 1}' for name in ("generation_config", "special_tokens_map", "added_tokens")}
    hub.put("acme/equal", {**SAMPLE, **same})
    folder = get("acme/equal")
    assert {(folder / name).read_bytes() for name in same} == set(same.values())
    assert len([path for path in hub.read() if path.rpartition("/")[2] in same]) == 1


def test_two_revisions_that_share_a_file_fetch_it_once(hub: FakeHub, get: Get) -> None:
    first = hub.repositories["acme/tiny"].refs["main"]
    second = hub.put("acme/tiny", {**SAMPLE, "tokenizer_config.json": b'{"model_max_length": 32}'})
    get(revision=first)
    hub.calls.clear()
    get(revision=second)
    assert [path.rpartition("/")[2] for path in hub.read()] == ["tokenizer_config.json"]


def test_of_a_repository_of_model_files_one_is_fetched_with_its_story_and_found_whole(hub: FakeHub, get: Get) -> None:
    files = {"a-F16.gguf": SOUND + b"\0" * 32, "a-Q8_0.gguf": SOUND, "card.json": b"{}"}
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    hub.put("acme/files", {**files, "SHA256SUMS": sums.encode(), "evil.py": b"raise"})
    with pytest.raises(pillm.DataError, match=r"It has a-F16\.gguf, a-Q8_0\.gguf\. Name one, pillm fetch acme/files --file"):
        get("acme/files")
    assert not hub.read()
    folder = get("acme/files", only=["a-Q8_0.gguf"])
    assert names(folder) == ["SHA256SUMS", "a-Q8_0.gguf", "card.json"]
    assert pillm.verify(folder / "a-Q8_0.gguf") == []
    with pytest.raises(pillm.DataError, match="holds no model files"):
        get("acme/tiny", only=["a-Q8_0.gguf"])


def test_a_hostile_model_file_is_refused_when_it_comes(hub: FakeHub, get: Get) -> None:
    hub.put("acme/files", {"a.gguf": SOUND[:-40]})
    with pytest.raises(pillm.DataError, match="Nothing was opened"):
        get("acme/files", only=["a.gguf"])
