"""Plugins come through the door that strangers use: a broken one is named and skipped, a name claimed twice is a question."""

import importlib
import logging
import os
import subprocess
import sys
import textwrap

import pytest

import pillm
from pillm import PluginError, UnknownBackend, plugins
from pillm.plugins import Registry, find, model_folder, model_names, registry
from pillm.testing import installed_plugin, on_path, write_plugin

METRIC = '''
from typing import ClassVar
import pillm

class Mine(pillm.Metric):
    """Scores {value}."""
    name: ClassVar[str] = "{name}"
    def score(self, prompt, answer):
        return {value}

@pillm.hookimpl
def pillm_metrics():
    return [Mine]
'''


def metric(name="mine", value=1.0):
    return METRIC.format(name=name, value=value)


def hook(body):
    return f"import pillm\n@pillm.hookimpl\ndef pillm_metrics():\n{textwrap.indent(body, '    ')}\n"


@pytest.fixture(autouse=True)
def only_what_the_test_installs(monkeypatch):
    """Keep the developer's own plugins out, as PILLM_PLUGINS does for everybody."""
    monkeypatch.setenv("PILLM_PLUGINS", "good broken one two")
    registry.cache_clear()
    yield
    registry.cache_clear()


def status_of(name):
    return next(status for status in registry().statuses if status.name == name)


def test_an_installed_plugin_is_found_by_its_name(tmp_path):
    with installed_plugin(tmp_path, "good", metric()):
        assert pillm.metric("mine").score(None, None) == 1.0
        status = status_of("good")
        assert (status.distribution, status.version, status.hooks, status.error) == (
            "pillm-good",
            "1.0",
            ("pillm_metrics",),
            None,
        )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def (", "SyntaxError: "),
        ("import pillm\n@pillm.hookimpl\ndef pillm_metricks():\n    return []", "unknown hook 'pillm_metricks'"),
        ("import pillm\n@pillm.hookimpl\ndef pillm_metrics(extra):\n    return []", "extra"),
    ],
)
def test_a_broken_plugin_is_named_and_skipped(tmp_path, caplog, source, reason):
    write_plugin(tmp_path / "good", "good", metric())
    with on_path(tmp_path / "good"), installed_plugin(tmp_path / "broken", "broken", source):
        assert find("metric", "mine")
        assert find("metric", "exact")
        assert reason in status_of("broken").error
        assert "plugin 'broken' (pillm-broken 1.0) is broken and was skipped" in caplog.text
        with pytest.raises(UnknownBackend, match=r"Broken plugins were skipped: broken \("):
            find("metric", "other")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('later')", "RuntimeError: later"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("yield 1/0", "ZeroDivisionError"),
        ("return None", "TypeError"),
        ("return 3", "TypeError"),
    ],
)
def test_a_plugin_that_fails_when_asked_is_named_and_left_out(tmp_path, caplog, body, reason):
    with installed_plugin(tmp_path, "broken", hook(body)):
        assert find("metric", "exact")
        assert find("metric", "json")
        assert caplog.text.count("pillm_metrics failed") == 1
        assert reason in status_of("broken").error


@pytest.mark.parametrize("answer", ["[3]", "['text']", "[dict]", "[pillm.Metric]", "[pillm.Teacher]", "'text'"])
def test_what_is_not_a_backend_is_named_and_left_out(tmp_path, caplog, answer):
    with installed_plugin(tmp_path, "broken", hook(f"return {answer}")):
        assert find("metric", "exact")
    assert "is not a metric with a name" in caplog.text


def test_a_slow_plugin_works_and_is_named(tmp_path, caplog):
    with installed_plugin(tmp_path, "good", "import time; time.sleep(0.6)\n" + metric()):
        assert find("metric", "mine")
        assert "took 0." in status_of("good").warning
    assert "its heavy imports belong in its methods" in caplog.text


def test_ctrl_c_during_an_import_is_not_a_broken_plugin(tmp_path):
    with installed_plugin(tmp_path, "broken", "raise KeyboardInterrupt"), pytest.raises(KeyboardInterrupt):
        registry()


@pytest.fixture
def twice(tmp_path):
    write_plugin(tmp_path / "a", "one", metric(value=1.0), distribution="alpha-metrics")
    write_plugin(tmp_path / "b", "two", metric(value=2.0), distribution="beta-metrics")
    with on_path(tmp_path / "a"), on_path(tmp_path / "b"):
        yield


def test_a_name_claimed_twice_fails_only_when_asked_and_names_both(twice):
    assert find("metric", "exact")
    with pytest.raises(
        PluginError, match=r"alpha-metrics and beta-metrics\. Write 'alpha-metrics:mine' or 'beta-metrics:mine'"
    ):
        pillm.metric("mine")


def test_the_distribution_chooses_where_a_name_is_claimed_twice(twice):
    assert pillm.metric("alpha-metrics:mine").score(None, None) == 1.0
    assert pillm.metric("beta-metrics:mine").score(None, None) == 2.0
    assert pillm.metric("two:mine").score(None, None) == 2.0
    with pytest.raises(UnknownBackend):
        pillm.metric("gamma:mine")


def test_two_plugins_of_one_name_live_side_by_side(tmp_path):
    write_plugin(tmp_path / "a", "one", metric("first"), distribution="alpha")
    write_plugin(tmp_path / "b", "two", metric("second"), distribution="beta")
    (tmp_path / "b" / "beta-1.0.dist-info" / "entry_points.txt").write_text("[pillm]\none = pillm_two\n")
    with on_path(tmp_path / "a"), on_path(tmp_path / "b"):
        assert find("metric", "first")
        assert find("metric", "second")
        names = [status.name for status in registry().statuses]
        assert len(set(names)) == len(names)
        assert [status.error for status in registry().statuses] == [None] * len(names)


@pytest.mark.parametrize(("wanted", "found"), [("good", True), ("x, good", True), ("", False), ("other", False)])
def test_pillm_plugins_limits_what_is_loaded(tmp_path, monkeypatch, wanted, found):
    monkeypatch.setenv("PILLM_PLUGINS", wanted)
    with installed_plugin(tmp_path, "good", "print('imported')\n" + metric()) as module:
        assert ("mine" in registry().provided("metric")) is found
        assert (module in sys.modules) is found


def test_an_unknown_name_is_answered_with_what_there_is():
    with pytest.raises(UnknownBackend, match=r"no metric is called 'exakt'\. Did you mean 'exact'\? Installed: exact, fields"):
        pillm.metric("exakt")


def test_every_first_party_name_is_one_that_the_plugin_provides(monkeypatch):
    monkeypatch.delenv("PILLM_PLUGINS")
    there = {status.distribution for status in registry().statuses if not status.error}
    for home, kinds in plugins.FIRST_PARTY.items():
        for kind, names in kinds.items():
            known = model_names() if kind == "model" else registry().provided(kind)
            assert home not in there or set(names) <= set(known), home


def test_a_backend_knows_its_version_whatever_its_distribution_is_called(tmp_path):
    write_plugin(tmp_path, "good", metric(), distribution="quite-another-name")
    with on_path(tmp_path):
        found = find("metric", "mine")
        assert found.version() == "1.0"

        class Child(found):
            """Not of that distribution."""

        assert Child.version() != "1.0"


def shipping(folder):
    return f"import pillm\n@pillm.hookimpl\ndef pillm_models():\n    return {{'tiny': {str(folder)!r}}}\n"


def test_a_model_that_a_plugin_ships_is_found_by_its_name(tmp_path):
    (tmp_path / "weights").mkdir()
    with installed_plugin(tmp_path / "site", "good", shipping(tmp_path / "weights")):
        assert model_folder("tiny") == tmp_path / "weights"
        assert model_folder(tmp_path) == tmp_path
        assert model_folder("other") is None
        assert model_names() == ["tiny"]


def test_a_model_shipped_twice_is_a_question(tmp_path):
    write_plugin(tmp_path / "a", "one", shipping(tmp_path), distribution="alpha")
    write_plugin(tmp_path / "b", "two", shipping(tmp_path), distribution="beta")
    with on_path(tmp_path / "a"), on_path(tmp_path / "b"), pytest.raises(PluginError, match="shipped by alpha and beta"):
        model_folder("tiny")


def test_a_plugin_object_can_be_registered_by_hand(caplog):
    made = Registry()
    made.register(importlib.import_module("pillm.testing.fakes"), "fakes", distribution="here")
    assert "echo" in made.provided("teacher")
    caplog.set_level(logging.WARNING)
    made.register(importlib.import_module("pillm.testing.fakes"), "again", distribution="here")
    assert "is broken and was skipped" in caplog.text


def test_importing_pillm_finds_no_plugin_and_loads_nothing_heavy():
    code = (
        "import sys, pillm; pillm.Prompt; pillm.hookimpl\n"
        "from pillm import plugins as p\n"
        "print(p.registry.cache_info().currsize, [m for m in ('torch', 'transformers', 'openai', 'rich') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PILLM_PLUGINS": ""}
    )
    assert told.stdout.strip() == "0 []"
    assert plugins.GROUP == "pillm"
