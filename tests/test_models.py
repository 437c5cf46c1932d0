"""Models by what a person calls them: a folder, a shipped name, or owner/name of a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pillm
from pillm.models import is_remote
from pillm.testing import FAKES, installed_plugin
from pillm.testing.shelf import SHELF

SHIPS = "import pillm\n@pillm.hookimpl\ndef pillm_models():\n    return {'tiny': __file__.rpartition('/')[0]}\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a source with acme/tiny on it, and a plugin that ships a model."""
    folder = tmp_path / "shelf" / "acme" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("PILLM_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("PILLM_PLUGINS", "shelf ships")
    monkeypatch.chdir(tmp_path)
    with installed_plugin(tmp_path / "one", "shelf", SHELF), installed_plugin(tmp_path / "two", "ships", SHIPS):
        yield tmp_path / "shelf"


def test_a_name_of_a_source_is_fetched_and_carries_its_commit(shelf: Path) -> None:
    found = pillm.find_model("acme/tiny")
    assert found is not None
    made = pillm.fetch_model("acme/tiny")
    assert (made.label, made.origin) == ("tiny", found.identity)
    assert sorted(path.name for path in made.path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_revision_is_given_after_the_sign_or_beside_it_and_once(shelf: Path) -> None:
    commit = pillm.fetch_model("acme/tiny").origin.partition("@")[2]
    for name, revision in (("acme/tiny@main", None), ("acme/tiny", "main"), (f"acme/tiny@{commit}", commit)):
        assert pillm.fetch_model(name, revision).origin.endswith(commit)
    with pytest.raises(pillm.ConfigError, match="two revisions"):
        pillm.fetch_model("acme/tiny@main", "v1")
    with pytest.raises(pillm.ConfigError, match="names no revision"):
        pillm.find_model("acme/tiny@")
    with pytest.raises(pillm.DataError, match="no revision 'v1'"):
        pillm.find_model("acme/tiny@v1")


def test_only_what_is_needed_is_fetched(shelf: Path) -> None:
    made = pillm.fetch_model("acme/tiny", only=("config.json",))
    assert [path.name for path in made.path.iterdir()] == ["config.json"]


def test_a_folder_and_a_shipped_name_come_first(shelf: Path) -> None:
    assert pillm.fetch_model("tiny").label == "tiny"
    Path("acme/tiny").mkdir(parents=True)
    assert pillm.fetch_model("acme/tiny") == pillm.Checkpoint(path=Path("acme/tiny"))
    assert not is_remote("acme/tiny")
    assert not is_remote("tiny")
    with pytest.raises(pillm.ConfigError, match="only models of a source have revisions"):
        pillm.fetch_model("acme/tiny", "main")


def test_a_path_into_a_folder_that_is_here_is_no_name_unless_it_says_a_revision(shelf: Path) -> None:
    Path("acme").mkdir()
    assert pillm.find_model("acme/tiny") is None
    assert pillm.find_model("acme/tiny@main") is not None
    with pytest.raises(pillm.DataError, match="neither a folder here"):
        pillm.fetch_model("acme/tiny")


def test_without_asking_only_what_was_fetched_is_found(shelf: Path) -> None:
    assert pillm.find_model("acme/tiny", ask=False) is None
    pillm.fetch_model("acme/tiny")
    (shelf / "closed").touch()
    assert pillm.find_model("acme/tiny", ask=False) is not None
    with pytest.raises(pillm.Unavailable, match="closed"):
        pillm.find_model("acme/tiny")


def test_what_nothing_has_is_named(shelf: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"no model 'moon': .* shipped model \(installed: tiny\)"):
        pillm.fetch_model("moon")
    assert pillm.find_model("moon") is None


def test_two_sources_with_one_form_of_names_are_told(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "shelf other")
    both = "pillm-other and pillm-shelf both have models"
    with installed_plugin(tmp_path / "three", "other", SHELF), pytest.raises(pillm.PluginError, match=both):
        pillm.find_model("acme/tiny")


def test_without_a_source_its_plugin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillm import plugins

    monkeypatch.setattr(plugins, "_is_installed", lambda _: False)
    monkeypatch.setenv("PILLM_PLUGINS", "fakes")
    with installed_plugin(tmp_path, "fakes", FAKES):
        with pytest.raises(pillm.MissingDependency, match="pip install pillm-hub"):
            pillm.fetch_model("acme/tiny")
        with pytest.raises(pillm.DataError, match="nor owner/name of a hub"):
            pillm.fetch_model("no model")


def test_an_adapter_names_its_base_and_the_commit_that_it_was(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text('{"base_model_name_or_path": "acme/tiny", "revision": null}')
    assert pillm.named_base(tmp_path) == ("acme/tiny", None)
    path.write_text('{"base_model_name_or_path": "acme/tiny", "revision": "abc"}')
    assert pillm.named_base(tmp_path) == pillm.NamedBase("acme/tiny", "abc")


@pytest.mark.parametrize("said", ["{}", "[]", "{", '{"base_model_name_or_path": null}', '{"base_model_name_or_path": 3}'])
def test_an_adapter_that_names_no_base_is_a_sentence(tmp_path: Path, said: str) -> None:
    (tmp_path / "adapter_config.json").write_text(said)
    with pytest.raises(pillm.DataError, match=r"adapter_config\.json names no base_model_name_or_path"):
        pillm.named_base(tmp_path)
