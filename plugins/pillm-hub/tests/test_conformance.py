"""The plugin keeps the rules that pillm sets for plugins."""

from __future__ import annotations

from pathlib import Path

import pillm_hub

import pillm
from pillm.testing import check_plugin, check_publisher, check_source


def test_the_plugin_conforms() -> None:
    assert {cls.name for cls in check_plugin(pillm_hub)} == {"hub"}


def test_the_source_conforms(source: pillm_hub.HubSource) -> None:
    assert check_source(source, "acme/tiny").label.startswith("acme/tiny@")


def test_the_publisher_conforms(publisher: pillm_hub.HubPublisher, tmp_path: Path) -> None:
    path = tmp_path / "student.gguf"
    path.write_bytes(b"GGUF")
    file = pillm.ReleaseFile(path=path, name=path.name, bytes=4, sha256=pillm.sha256_file(path))
    check_publisher(publisher, pillm.Release(repository="acme/student", files=(file,)))
