"""Where tables are: files here, and addresses that plugins read."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.testing import installed_plugin, on_path, write_plugin

READER = """
import pillm

def read(address):
    return pillm.Table(source=address + "@1", read=lambda: iter([("here:1", {"a": address})]))

@pillm.hookimpl
def pillm_tables():
    return {"toy": read}
"""


def test_a_file_is_read_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n", "utf-8")
    for source in (tmp_path / "t.csv", str(tmp_path / "t.csv")):
        assert [row for _, row in pillm.read_table(source)] == [{"a": "1"}]
    with pytest.raises(pillm.DataError, match="is not a file"):
        pillm.read_table("toy.csv")


def test_an_address_is_read_by_the_plugin_of_its_scheme(tmp_path: Path) -> None:
    with installed_plugin(tmp_path, "good", READER):
        table = pillm.read_table("toy://somewhere")
        assert (table.source, list(table)) == ("toy://somewhere@1", [("here:1", {"a": "toy://somewhere"})])
        with pytest.raises(pillm.DataError, match=r"no installed plugin reads tou:// addresses\. Did you mean 'toy'\?"):
            pillm.read_table("tou://somewhere")


def test_a_scheme_that_two_plugins_read_is_a_question(tmp_path: Path) -> None:
    write_plugin(tmp_path / "a", "one", READER, distribution="alpha")
    write_plugin(tmp_path / "b", "two", READER, distribution="beta")
    with on_path(tmp_path / "a"), on_path(tmp_path / "b"), pytest.raises(pillm.PluginError, match="by alpha and beta"):
        pillm.read_table("toy://somewhere")


def test_an_address_whose_plugin_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLM_PLUGINS", "good")
    with installed_plugin(tmp_path, "good", READER), pytest.raises(pillm.MissingDependency, match="pip install pillm-hf"):
        pillm.read_table("hf://acme/rows")
