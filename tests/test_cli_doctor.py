"""`pillm doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.examination import Finding
from pillm.testing import installed_plugin

if TYPE_CHECKING:
    from tests.conftest import Cli

PICKY = '''
import pillm
from pillm.testing import TableExporter

class Picky(TableExporter):
    """Packs what has three layers."""

    name = "picky"

    def examine(self, checkpoint, *, student=None, prove=False):
        layers = checkpoint.config.get("layers")
        yield pillm.Finding("quants", "ok", ", ".join(self.quants))
        yield pillm.Finding("layers", "ok" if layers == 3 else "broken", f"{layers} layers", "" if layers == 3 else "Take 3.")
        if prove:
            yield pillm.Finding("proof", "note", "tried")

@pillm.hookimpl
def pillm_exporters():
    return [Picky]
'''


def test_a_sound_machine_ends_with_0(cli: Cli, fakes: Path) -> None:
    done = cli("doctor", "--json")
    assert done.code == 0
    assert done.json["healthy"] is True
    told = {one["name"]: one["detail"] for one in done.json["checks"]}
    assert {"python", "machine", "disk", "plugin fakes"} <= told.keys()
    assert "; profile " in told["machine"]


@pytest.mark.parametrize("state", ["missing", "broken"])
def test_what_is_missing_ends_with_4_and_a_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    found = Finding("torch", state, "pillm-hf needs it", "pip install torch")  # type: ignore[arg-type]
    monkeypatch.setattr("pillm.cli.doctor_command.checks", lambda: iter([found]))
    done = cli("doctor")
    assert done.code == 4
    assert "-> pip install torch" in done.out


def test_a_note_is_no_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm.cli.doctor_command.checks", lambda: iter([Finding("disk", "note", "1 GiB free", "Free some.")]))
    assert cli("doctor").code == 0


def test_a_model_is_examined_by_the_exporter_that_would_pack_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"layers": 3}')
    with installed_plugin(tmp_path / "picky", "picky", PICKY):
        done = cli("doctor", tmp_path, "--exporter", "picky", "-o", "quants=Q8_0", "--json")
        assert done.code == 0
        assert [one["name"] for one in done.json["checks"]] == ["files", "quants", "layers", "proof"]
        assert done.json["checks"][1]["detail"] == "Q8_0"
        assert [one["name"] for one in cli("doctor", tmp_path, "--exporter", "picky", "--quick", "--json").json["checks"]] == [
            "files",
            "quants",
            "layers",
        ]
        (tmp_path / "config.json").write_text('{"layers": 2}')
        done = cli("doctor", tmp_path, "--exporter", "picky")
    assert done.code == 4
    assert "-> Take 3." in done.out


def test_the_only_exporter_need_not_be_named_and_one_may_say_nothing(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    done = cli("doctor", tmp_path, "--json")
    assert done.code == 0
    assert [(one["name"], one["state"]) for one in done.json["checks"]] == [
        ("files", "ok"), ("exporter table", "note"),
    ]  # fmt: skip


def test_of_a_folder_that_was_made_to_do_harm_nothing_else_is_read(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 1e300}')
    done = cli("doctor", tmp_path, "--json")
    (found,) = done.json["checks"]
    assert (done.code, found["name"], found["state"]) == (4, "files", "broken")
    assert "vocab_size is 1e+300" in found["detail"]


def test_what_is_no_model_and_an_exporter_without_one_are_refused(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("doctor", tmp_path / "nowhere")
    assert done.code == 2
    assert "neither a model folder" in done.err
    assert cli("doctor", "--exporter", "table").code == 2
