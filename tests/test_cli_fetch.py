"""`pillm fetch`, and a hub's names wherever a command takes a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.testing import installed_plugin
from pillm.testing.shelf import SHELF

if TYPE_CHECKING:
    from tests.conftest import Cli

SHAPE = {
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 22, "intermediate_size": 5632, "num_attention_heads": 32,
    "num_key_value_heads": 4, "vocab_size": 32000,
}  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a source with acme/tiny on it, beside the other fakes."""
    folder = tmp_path / "shelf" / "acme" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    (folder / "table.json").write_text(json.dumps({"hello": "HI"}))
    monkeypatch.setenv("PILLM_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("PILLM_PLUGINS", "fakes shelf")
    with installed_plugin(tmp_path / "plugin", "shelf", SHELF):
        yield tmp_path / "shelf"


def test_a_model_is_fetched_and_its_folder_is_printed(cli: Cli, shelf: Path) -> None:
    done = cli("fetch", "acme/tiny")
    assert done.code == 0
    assert (Path(done.out.strip()) / "config.json").is_file()
    assert "fetch acme/tiny@" in done.err
    found = cli("fetch", "acme/tiny", "--json").json
    assert found["folder"] == done.out.strip()
    assert found["origin"].startswith("acme/tiny@")
    assert len(found["origin"]) == len("acme/tiny@") + 40


def test_a_dry_run_prints_files_and_sizes_and_fetches_nothing(cli: Cli, shelf: Path) -> None:
    done = cli("fetch", "acme/tiny", "--dry-run")
    assert done.code == 0
    for word in ("config.json", "table.json", "Never fetched: evil.py", "would be fetched", "Nothing was fetched"):
        assert word in done.out
    assert not (shelf / "fetched").exists()
    found = cli("fetch", "acme/tiny", "--dry-run", "--json").json
    assert found["missing_bytes"] == sum(file["bytes"] for file in found["files"]) > 0


def test_the_events_of_a_download_are_kept_as_lines(cli: Cli, shelf: Path, tmp_path: Path) -> None:
    assert cli("fetch", "acme/tiny", "--events", tmp_path / "events.jsonl").code == 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [events[0]["kind"], events[0]["unit"]] == ["start", "bytes"]
    assert events[-1]["done"] == events[-1]["total"] > 0


def test_what_is_no_model_of_a_hub_is_refused(cli: Cli, shelf: Path) -> None:
    assert cli("fetch", "moon").code == 2
    assert cli("fetch", "moon", "--dry-run").code == 2
    done = cli("fetch", "acme/gone")
    assert (done.code, done.out) == (2, "")
    assert "Put one there" in done.err
    (shelf / "closed").touch()
    assert cli("fetch", "acme/tiny").code == 5


def test_a_plan_fetches_the_configuration_alone(cli: Cli, shelf: Path) -> None:
    found = cli("plan", "acme/tiny", "--device", "pi4-4gb", "--quant", "Q4_K_M", "--json").json["plans"][0]
    assert (found["fits"], found["model"]) == (True, "tiny")
    assert [path.name for path in (shelf / "fetched").rglob("*.json")] == ["config.json"]


def test_the_doctor_examines_a_model_of_a_hub(cli: Cli, shelf: Path) -> None:
    done = cli("doctor", "acme/tiny", "--exporter", "table")
    assert done.code == 0, done.err
    assert "acme/tiny can be exported" in done.out
    assert (shelf / "fetched").is_dir()


def test_an_export_starts_from_a_hub_and_records_the_commit(cli: Cli, shelf: Path, tmp_path: Path) -> None:
    done = cli("export", "acme/tiny@main", "--exporter", "table", "--out", tmp_path / "export", "--json")
    assert done.code == 0, done.err
    assert all(Path(model["path"]).name.startswith("student") for model in done.json)
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text())
    assert manifest["results"]["origin"] == cli("fetch", "acme/tiny", "--json").json["origin"]


def test_a_model_of_a_hub_is_scored_and_asked_like_a_folder(cli: Cli, shelf: Path, rows: Path, tmp_path: Path) -> None:
    found = cli("evaluate", rows, "--subject", "acme/tiny", "--json")
    assert found.code == 0, found.err
    assert found.json["evaluations"][0]["subject"] == "tiny"
