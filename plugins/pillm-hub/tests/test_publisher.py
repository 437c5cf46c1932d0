"""Publishing: private unless told otherwise, only what changed, every hash compared, nothing half done."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from pillm_hub import HubPublisher

import pillm
from pillm.testing import FakeHub

FILES = {
    "student-Q8_0.gguf": b"GGUF" + b"8" * 5000,
    "student-F16.gguf": b"GGUF" + b"f" * 9000,
    "README.md": b"---\nlicense: mit\n---\n# Student\n",
    "card.json": b"{}",
}


@pytest.fixture
def release(tmp_path: Path) -> pillm.Release:
    """Give files that want to go to acme/student."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return pillm.Release(repository="acme/student", files=files(tmp_path), message="The first one")


def files(folder: Path) -> tuple[pillm.ReleaseFile, ...]:
    """Return what a folder holds, measured and hashed."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        found.append(pillm.ReleaseFile(path=path, name=path.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
    return tuple(found)


def uploads(hub: FakeHub) -> list[str]:
    """Return the large files that were sent."""
    return [call.path.rpartition("/")[2] for call in hub.calls if call.method == "PUT"]


def test_files_arrive_in_one_private_commit(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, events: list[pillm.Event]
) -> None:
    done = publisher.publish(release, pillm.Progress("fetch", (events.append,)))
    there = hub.repositories["acme/student"]
    assert there.private
    assert there.head == FILES
    assert there.messages[done.commit] == "The first one"
    assert len(there.commits) == 1
    assert (done.files, done.sent, done.public) == (4, 4, False)
    assert done.address == f"{hub.endpoint}/acme/student"
    assert events[0].total == sum(map(len, FILES.values()))
    assert events[-1].figures["percent"] == 100.0


def test_a_look_changes_nothing(hub: FakeHub, publisher: HubPublisher, release: pillm.Release) -> None:
    standing = publisher.look(release)
    assert (standing.exists, set(standing.states.values())) == (False, {"new"})
    assert {call.method for call in hub.calls} == {"GET"}
    assert "acme/student" not in hub.repositories


def test_only_what_changed_is_sent_again(hub: FakeHub, publisher: HubPublisher, release: pillm.Release, tmp_path: Path) -> None:
    first = publisher.publish(release, pillm.Progress())
    hub.calls.clear()
    again = publisher.publish(release, pillm.Progress())
    assert (again.sent, again.commit, uploads(hub)) == (0, first.commit, [])
    (tmp_path / "student-Q8_0.gguf").write_bytes(b"GGUF better")
    changed = replace(release, files=files(tmp_path))
    assert publisher.look(changed).states == {
        "README.md": "same", "card.json": "same", "student-F16.gguf": "same", "student-Q8_0.gguf": "changed",
    }  # fmt: skip
    assert publisher.publish(changed, pillm.Progress()).sent == 1
    assert uploads(hub) == [hashlib.sha256(b"GGUF better").hexdigest()]


def test_an_upload_that_broke_goes_on(hub: FakeHub, publisher: HubPublisher, release: pillm.Release) -> None:
    hub.refuse["commit"] = (403, {"X-Error-Message": "no"})
    with pytest.raises(pillm.Unavailable, match="may not write to acme/student"):
        publisher.publish(release, pillm.Progress())
    assert len(uploads(hub)) == 2
    assert not hub.repositories["acme/student"].head
    hub.refuse.clear()
    hub.calls.clear()
    assert publisher.publish(release, pillm.Progress()).files == 4
    assert uploads(hub) == []


@pytest.mark.parametrize(("there", "asked"), [("public", False), ("private", True)])
def test_a_repository_of_the_other_visibility_is_left_alone(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, there: str, asked: bool
) -> None:
    hub.put("acme/student", {"README.md": b"---\n"}, private=there == "private")
    hub.calls.clear()
    with pytest.raises(pillm.ConfigError, match=f"acme/student is {there}.*Nothing was sent"):
        publisher.publish(replace(release, public=asked), pillm.Progress())
    assert {call.method for call in hub.calls} == {"GET"}


def test_public_is_public_only_where_it_is_said(hub: FakeHub, publisher: HubPublisher, release: pillm.Release) -> None:
    publisher.publish(replace(release, public=True), pillm.Progress())
    assert not hub.repositories["acme/student"].private


def test_a_repository_that_was_made_public_against_the_wish_gets_no_file(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    make = HfApi.create_repo
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: make(self, name, **{**options, "private": False}))
    with pytest.raises(pillm.ConfigError, match="is public"):
        publisher.publish(release, pillm.Progress())
    assert not hub.repositories["acme/student"].head


def test_a_tag_names_the_commit_and_is_never_moved(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, tmp_path: Path
) -> None:
    tagged = replace(release, tag="v1")
    first = publisher.publish(tagged, pillm.Progress())
    assert hub.repositories["acme/student"].refs["v1"] == first.commit
    assert publisher.publish(tagged, pillm.Progress()).commit == first.commit
    (tmp_path / "card.json").write_text('{"new": 1}')
    hub.calls.clear()
    with pytest.raises(pillm.ConfigError, match="has a tag 'v1' already"):
        publisher.publish(replace(tagged, files=files(tmp_path)), pillm.Progress())
    assert {call.method for call in hub.calls} == {"GET"}


def test_a_file_that_did_not_arrive_as_it_is_here_is_an_error(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillm.testing.hubstate import FakeRepository

    keep = FakeRepository.commit
    monkeypatch.setattr(
        FakeRepository, "commit", lambda self, files, *rest: keep(self, {**files, "card.json": b"other"}, *rest)
    )
    with pytest.raises(pillm.BackendError, match=r"does not hold what is here: card\.json"):
        publisher.publish(release, pillm.Progress())


def test_without_a_token_or_a_name_nothing_is_asked(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pillm.ConfigError, match="owner/name"):
        publisher.look(replace(release, repository="student"))
    with pytest.raises(pillm.ConfigError, match="cannot be a tag"):
        publisher.look(replace(release, tag="../x"))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(pillm.Unavailable, match="needs HF_TOKEN"):
        publisher.publish(release, pillm.Progress())
    assert not hub.calls


def test_a_token_that_may_not_write_is_a_sentence_without_the_token(
    hub: FakeHub, publisher: HubPublisher, release: pillm.Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(pillm.Unavailable, match="HF_TOKEN may not write to acme/student") as refused:
        publisher.publish(release, pillm.Progress())
    assert "hf_reader" not in str(refused.value)
    hub.put("acme/student", {})
    with pytest.raises(pillm.Unavailable, match="HF_TOKEN may not write to acme/student"):
        publisher.look(release)


def test_a_quota_that_is_used_up_is_said(hub: FakeHub, publisher: HubPublisher, release: pillm.Release) -> None:
    hub.refuse["batch"] = (403, {"X-Error-Message": "Private repository storage limit reached"})
    with pytest.raises(pillm.Unavailable, match="storage quota of the account"):
        publisher.publish(release, pillm.Progress())


def test_what_the_hub_says_of_the_card_is_passed_on(
    publisher: HubPublisher, release: pillm.Release, tmp_path: Path, events: list[pillm.Event]
) -> None:
    (tmp_path / "README.md").write_text("no front matter")
    publisher.publish(replace(release, files=files(tmp_path)), pillm.Progress("fetch", (events.append,)))
    assert "missing yaml metadata" in events[-1].message


def test_the_token_goes_to_the_hub_alone(hub: FakeHub, publisher: HubPublisher, release: pillm.Release) -> None:
    publisher.publish(release, pillm.Progress())
    assert {call.token for call in hub.calls if call.method == "PUT"} == {""}
