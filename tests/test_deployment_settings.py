"""What a deployment was told once holds until something else is said."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.deployment.profile import Profile
from pillm.deployment.settings import DEFAULTS, described, differences, profile_of, settings_for, told_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=3
)
FIRST = pillm.Service(context=512, threads=1, server="/opt/llama-server")


def manifest(service: pillm.Service, constrained: bool | None = None, before: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"settings": told_of(Profile(server="x"), settings_for(service, constrained, before or {}))}


def test_what_is_not_said_anew_is_kept_over_any_number_of_deployments() -> None:
    second = manifest(pillm.Service(predict=64), None, manifest(FIRST, True))
    found = settings_for(pillm.Service(threads=2), None, second)
    assert {name: found[name] for name in DEFAULTS} == {
        "server": "/opt/llama-server", "context": 512, "threads": 2, "temperature": 0.0, "predict": 64, "constrained": True,
        "system": True,
    }  # fmt: skip
    assert set(found.kept) == {"server", "context", "predict", "constrained"}


def test_defaults_forget_what_was_said_and_a_switch_can_be_turned_back() -> None:
    before = manifest(FIRST, True)
    assert settings_for(pillm.Service(defaults=True), None, before)["context"] == 2048
    assert settings_for(pillm.Service(), False, before)["constrained"] is False


def test_what_changes_and_what_is_kept_is_said() -> None:
    old, new = Profile(server="x", context=512), Profile(server="x", context=1024, key="0a1b2c3d")
    kept = settings_for(pillm.Service(), None, manifest(FIRST))
    changed, stays = differences(asdict(old), asdict(new), kept)
    assert changed == "changed: context 1024 (was: context 512), API key 0a1b2c3d (was: no API key)"
    assert stays.startswith("kept as it was told before: server /opt/llama-server, context 512, 1 thread. ")
    assert differences(asdict(old), asdict(replace(old))) == ()
    assert "at most 512 tokens an answer" in described(asdict(old))


@pytest.mark.parametrize("context", [1, 100, 255])
def test_a_context_into_which_no_request_fits_is_refused(context: int) -> None:
    with pytest.raises(pillm.ConfigError, match="too short to serve"):
        settings_for(pillm.Service(context=context), None, {})


@settings(max_examples=30, deadline=None)
@given(JSON, st.dictionaries(st.sampled_from([*DEFAULTS, "other"]), JSON))
def test_a_manifest_that_says_nonsense_says_nothing(nonsense: Any, said: dict[str, Any]) -> None:
    for told in (nonsense, {"said": nonsense}, {"said": said, "profile": nonsense}):
        profile_of({"settings": told})
        try:
            found = settings_for(pillm.Service(), None, {"settings": told})
        except pillm.ConfigError:  # a context that is too short
            continue
        assert isinstance(found["context"], int)
        assert isinstance(found["server"], str)
        assert isinstance(found["system"], bool)
