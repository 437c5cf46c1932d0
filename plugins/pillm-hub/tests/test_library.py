"""The hub is asked for models and told nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pillm_hub.library import hub_api, request_headers

from pillm.testing import FakeHub


def test_the_hub_is_asked_for_nothing_but_the_model_and_told_of_nothing_that_is_installed(
    hub: FakeHub, get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    get()
    assert constants.HF_HUB_DISABLE_TELEMETRY
    assert {call.path for call in hub.calls if call.path.startswith("/api/")} == {"/api/models/acme/tiny"}
    for call in hub.calls:
        assert "pillm" in call.agent
        assert not {"torch", "agent", "session_id"} & set(call.agent.replace("/", " ").replace(";", " ").split()), call.agent


def test_requests_carry_the_token_and_the_address(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "authorization" not in request_headers()
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert request_headers()["authorization"] == "Bearer hf_mine"
    assert hub_api("http://127.0.0.1:9").endpoint == "http://127.0.0.1:9"
