"""What the tests of the hub share: a hub on this machine, a model on it, and a process that knows no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pillm_hub import HubPublisher, HubSource
from pillm_hub import source as source_module

import pillm
from pillm.testing import FakeHub
from pillm.testing.hubstate import SAMPLE


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no token, no cache and no setting of this machine into a test; send large files by the plain protocol."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import constants

    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    source_module._ASKED.clear()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """Give a hub that holds acme/tiny."""
    with FakeHub() as running:
        running.put("acme/tiny", SAMPLE)
        yield running


@pytest.fixture
def source(hub: FakeHub, tmp_path: Path) -> HubSource:
    """Give the source on that hub, with a cache of its own."""
    return HubSource(endpoint=hub.endpoint, cache=tmp_path / "cache")


@pytest.fixture
def publisher(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> HubPublisher:
    """Give the publisher on that hub, with a token that may write."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return HubPublisher(endpoint=hub.endpoint)


@pytest.fixture
def events() -> list[pillm.Event]:
    """Give a list for the events of a progress."""
    return []


@pytest.fixture
def get(source: HubSource) -> Callable[..., Path]:
    """Return what finds and fetches a model, as `pillm.fetch_model` does."""

    def fetch(name: str = "acme/tiny", revision: str | None = None, **more: object) -> Path:
        progress = more.pop("progress", pillm.Progress())
        return source.fetch(source.find(name, revision), progress, **more)  # type: ignore[arg-type]

    return fetch
