"""Backends are built by their names, and so are those that are options of others."""

import pytest

import pillm
from pillm import ConfigError, MissingDependency, UnknownBackend, plugins
from pillm.plugins import registry
from pillm.testing import FAKES, installed_plugin


@pytest.fixture
def good(tmp_path, monkeypatch):
    """Return where a plugin is installed that is the only one."""
    monkeypatch.setenv("PILLM_PLUGINS", "good")
    return tmp_path


def test_every_verb_builds_its_own_kind(good):
    with installed_plugin(good, "good", FAKES):
        assert pillm.teacher("echo").name == "echo"
        assert isinstance(pillm.trainer("table"), pillm.Trainer)
        assert pillm.exporter("table", quants="F16,Q8_0").quants == ("F16", "Q8_0")
        assert isinstance(pillm.runner("table"), pillm.Runner)
        assert isinstance(pillm.metric("shortness"), pillm.Metric)
        assert pillm.filter_("drop", word="a").word == "a"
        with pytest.raises(ConfigError, match="has no option 'wort'"):
            pillm.filter_("drop", wort="a")


NESTING = '''
from typing import ClassVar
import pillm
from pydantic import Field
from pillm.testing.fakes import *

class Judge(pillm.Metric):
    """Asks a teacher."""
    name: ClassVar[str] = "panel"
    judge: pillm.Teacher | None = Field(None, description="Who judges.")
    table: pillm.Runner | None = Field(None, description="Who runs.")
    def score(self, prompt, answer):
        return 1.0

class Table(pillm.Teacher):
    """Has the name of a runner."""
    name: ClassVar[str] = "table"
    def answer(self, requests):
        return iter(())

@pillm.hookimpl
def pillm_metrics():
    return [Judge]

@pillm.hookimpl
def pillm_teachers():
    return [EchoTeacher, Table]
'''


def test_an_option_may_be_a_backend_of_the_kind_that_its_type_names(good):
    with installed_plugin(good, "good", NESTING):
        built = pillm.metric("panel", judge={"use": "echo", "truth": "yes"}, table={"use": "table"})
        assert built.judge.truth is True
        assert isinstance(built.table, pillm.Runner)
        assert built.identity()["judge"]["truth"] is True
        assert built.identity() != pillm.metric("panel", judge={"use": "echo"}).identity()
        with pytest.raises(ConfigError, match="metric 'panel' option 'judge': no installed teacher is called 'ecco'"):
            pillm.metric("panel", judge={"use": "ecco"})


def test_a_name_of_pillms_own_whose_plugin_is_absent_is_answered_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(plugins.FIRST_PARTY, "pillm-moon", {"teacher": ("moon",)})
    monkeypatch.setenv("PILLM_PLUGINS", "good broken moon")
    remedy = r"teacher 'moon' comes with the plugin pillm-moon.*pip install pillm-moon \(.*pip install \./plugins/pillm-moon\)"
    with installed_plugin(tmp_path / "good", "good", NESTING):
        with pytest.raises(MissingDependency, match=remedy):
            pillm.teacher("moon")
        with pytest.raises(MissingDependency, match="pillm-moon"):
            pillm.metric("panel", judge={"use": "moon"})
        with pytest.raises(UnknownBackend, match="no runner is called 'moon'"):
            pillm.runner("moon")
    with installed_plugin(tmp_path / "moon", "moon", "raise RuntimeError('no luck')"):
        with pytest.raises(UnknownBackend, match=r"Broken plugins were skipped: moon \(RuntimeError"):
            pillm.teacher("moon")
        monkeypatch.setenv("PILLM_PLUGINS", "good")
        registry.cache_clear()
        with pytest.raises(UnknownBackend, match="pillm-moon provides it, but PILLM_PLUGINS leaves that out"):
            pillm.teacher("moon")
