"""Each way that the hub can refuse is one sentence with what to do, and the right kind of error."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from pillm_hub import HubSource
from pillm_hub.refusals import failures, refuse

import pillm
from pillm.testing import FakeHub
from pillm.testing.hubstate import SAMPLE

Get = Callable[..., Path]


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("gone", pillm.DataError, r"no model 'acme/gone' that you may see\. Check the spelling"),
        ("private", pillm.DataError, "a private model needs HF_TOKEN"),
        ("gated", pillm.Unavailable, r"acme/gated is gated\. Accept its terms on its page, then set HF_TOKEN"),
        (
            "moved",
            pillm.DataError,
            r"acme/moved has moved: it is called acme/tiny now\. .*Write the new name",
        ),
        ("tiny@nightly", pillm.DataError, "no revision 'nightly'. Give a branch, a tag or a commit hash"),
    ],
)
def test_what_is_not_there_for_you_is_told_apart(
    hub: FakeHub, source: HubSource, how: str, error: type[Exception], said: str
) -> None:
    hub.put("acme/private", SAMPLE, private=True)
    hub.put("acme/gated", SAMPLE, gated=True)
    hub.moved["acme/moved"] = "acme/tiny"
    name, _, revision = how.partition("@")
    with pytest.raises(error, match=said):
        source.find(f"acme/{name}", revision or None)


@pytest.mark.parametrize(
    ("status", "headers", "error", "said"),
    [
        (
            429,
            {"RateLimit": '"api";r=0;t=55'},
            pillm.Unavailable,
            r"limit of requests.*Repeat it in 55 s\. With HF_TOKEN",
        ),
        (429, {"Retry-After": "7"}, pillm.Unavailable, "Repeat it in 7 s"),
        (429, {}, pillm.Unavailable, "Repeat it in some minutes"),
        (500, {}, pillm.Unavailable, "failure of its own"),
        (503, {}, pillm.Unavailable, "HTTP 503"),
        (403, {}, pillm.Unavailable, "HF_TOKEN is not set, and nobody may read acme/tiny"),
        (418, {}, pillm.Unavailable, r"refused acme/tiny \(HTTP 418\)"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, pillm.DataError, "disabled by the hub"),
    ],
)
def test_an_answer_of_the_hub_is_a_sentence(
    hub: FakeHub, source: HubSource, status: int, headers: dict[str, str], error: type[Exception], said: str
) -> None:
    hub.refuse["info"] = (status, headers)
    with pytest.raises(error, match=said):
        source.find("acme/tiny")


def test_with_a_token_the_sentences_say_so(hub: FakeHub, source: HubSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(pillm.DataError, match="that HF_TOKEN may see"):
        source.find("acme/gone")
    hub.refuse["info"] = (403, {})
    with pytest.raises(pillm.Unavailable, match="HF_TOKEN may not read") as refused:
        source.find("acme/tiny")
    assert "hf_another" not in str(refused.value)


def test_a_hub_that_is_not_there_is_out_of_reach(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = HubSource(endpoint="http://127.0.0.1:9")
    with pytest.raises(pillm.Unavailable, match=r"out of reach for acme/tiny \(ConnectError\).*Look after the network"):
        nowhere.find("acme/tiny")


def test_a_file_that_is_listed_and_not_there_is_named(hub: FakeHub, get: Get) -> None:
    hub.refuse["file"] = (404, {"X-Error-Code": "EntryNotFound"})
    with pytest.raises(pillm.DataError, match=r"a file that acme/tiny@.* lists is not there"):
        get()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence_and_not_the_network(number: int) -> None:
    with pytest.raises(pillm.StorageError, match=r"no space is left.*What was fetched is kept"):
        refuse(OSError(number, "full"), "acme/tiny")


def test_a_forbidden_cache_is_named() -> None:
    with pytest.raises(pillm.StorageError, match="/cache/blobs: Permission denied"):
        refuse(PermissionError(errno.EACCES, "no", "/cache/blobs"), "acme/tiny")


def test_offline_is_said_and_not_taken_for_a_broken_network() -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    with pytest.raises(pillm.Unavailable, match="HF_HUB_OFFLINE is set"):
        refuse(OfflineModeIsEnabled("offline"), "acme/tiny")
    with pytest.raises(pillm.Unavailable, match="out of reach"):
        refuse(LocalEntryNotFoundError("not here"), "acme/tiny", "main")


def test_a_refusal_of_our_own_and_one_inside_another_keep_their_sentence() -> None:
    with pytest.raises(pillm.GateError, match="mine"):
        refuse(pillm.GateError("mine"), "acme/tiny")
    outer = RuntimeError("Error while uploading 'x'")
    outer.__cause__ = OSError(errno.ENOSPC, "full")
    with pytest.raises(pillm.StorageError):
        refuse(outer, "acme/tiny", writing=True)
    assert isinstance(outer, failures())
