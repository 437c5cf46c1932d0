"""A manifest names the distributions that made a result and the libraries that they require; no key depends on those."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm import plugins
from pillm.provenance import made_with
from pillm.store import Lineage, WorkFolder, read_manifest, stage_key
from pillm.testing import installed_plugin

TWO = '''
from pillm.testing.fakes import EchoTeacher, TableRunner
import pillm

class A(EchoTeacher):
    """Answers."""
    name = "twin"

class B(TableRunner):
    """Runs."""
    name = "twin"
    inner: pillm.Backend | None = None

@pillm.hookimpl
def pillm_teachers():
    return [A]

@pillm.hookimpl
def pillm_runners():
    return [B]
'''
REQUIRES = """Requires-Dist: pillm
Requires-Dist: PyYAML[x]>=5 ; python_version >= "3"
Requires-Dist: click ; extra == "more"
Requires-Dist: not-there-at-all>=1 ; extra == "more"
"""


@pytest.fixture(autouse=True)
def twin(tmp_path: Path) -> Iterator[Path]:
    """Install a plugin whose distribution requires libraries; yield its metadata."""
    with installed_plugin(tmp_path / "site", "twin", TWO):
        metadata = tmp_path / "site" / "pillm_twin-1.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text() + REQUIRES)
        yield metadata


def test_a_manifest_names_distributions_and_the_libraries_that_they_require(tmp_path: Path) -> None:
    backends = (plugins.teacher("twin"), plugins.runner("twin"))
    with WorkFolder(tmp_path / "label", "label", "k") as work:
        (work.path / "result").write_text("x")
        work.publish(Lineage(verb="label", key="k", backends=backends))
    told = (read_manifest(tmp_path / "label") or {})["versions"]
    assert list(told) == ["python", "pillm", "platform", "PyYAML", "click", "pillm-twin"]
    assert told["pillm-twin"] == "1.0"
    assert told["click"] == importlib.metadata.version("click")


def test_what_a_backend_is_given_as_an_option_took_part_too() -> None:
    from pillm.testing import LengthMetric

    holder = plugins.runner("twin", inner=plugins.teacher("twin"))
    assert made_with([holder])["pillm-twin"] == "1.0"
    assert set(made_with([LengthMetric()])) >= {"python", "pillm", "platform"}


def test_another_version_of_a_library_is_recorded_and_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = plugins.teacher("twin")
    before = stage_key("label", {"rows": 1}, teacher)
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == "click" else real(name))
    assert made_with([teacher])["click"] == "99.0"
    assert stage_key("label", {"rows": 1}, teacher) == before
