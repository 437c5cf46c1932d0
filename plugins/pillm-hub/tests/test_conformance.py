"""The plugin keeps the rules that pillm sets for plugins."""

from __future__ import annotations

import pillm_hub

from pillm.testing import check_backend, check_plugin


def test_the_plugin_conforms() -> None:
    assert {cls.name for cls in check_plugin(pillm_hub)} == {"hub"}
    for cls in (pillm_hub.HubSource, pillm_hub.HubPublisher):
        check_backend(cls())
