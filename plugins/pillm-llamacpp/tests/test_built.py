from __future__ import annotations

import json
from pathlib import Path

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building.built import MANIFEST, Built, command, kept_folder, work_folder
from pillm_llamacpp.building.targets import TARGETS

import pillm

PI4 = TARGETS["pi4"]


@pytest.fixture
def built(tmp_path: Path) -> Built:
    """Return a folder in which two programs were recorded."""
    made = Built(PI4, tmp_path / "built")
    (made.folder / "bin").mkdir(parents=True)
    for name in ("llama-bench", "llama-server"):
        made.path(name).write_text(name)
        made.record((name,), "g++ 12", PI4.options((name,)))
    return made


def test_programs_that_are_built_one_after_the_other_are_all_recorded(built: Built) -> None:
    assert built.lacking(("llama-bench", "llama-server", "llama-cli")) == ("llama-cli",)
    assert built.require("llama-server") == built.path("llama-server")


def test_a_program_that_was_changed_is_not_taken(built: Built) -> None:
    built.path("llama-bench").write_text("another")
    with pytest.raises(pillm.MissingDependency, match="pillm-llamacpp build --target pi4"):
        built.require("llama-bench")
    built.record(("llama-server",), "g++ 12", PI4.options(()))
    assert set((built.read() or {})["programs"]) == {"llama-server"}


@pytest.mark.parametrize("changed", [{"target": "pi5"}, {"source": {}}, {"options": {"GGML_NATIVE": "ON"}}, {"programs": []}])
def test_what_was_made_for_another_board_of_another_source_or_otherwise_does_not_count(
    built: Built, changed: dict[str, object]
) -> None:
    path = built.folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert built.lacking(("llama-bench",)) == ("llama-bench",)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"target": "pi4"}', "null"])
def test_a_damaged_manifest_vouches_for_nothing(built: Built, text: str) -> None:
    (built.folder / MANIFEST).write_text(text)
    assert built.read() is None
    assert built.lacking(("llama-bench",)) == ("llama-bench",)


def test_the_command_is_the_one_to_type() -> None:
    assert command(PI4, "--emulate") == "pillm-llamacpp build --target pi4 --emulate"


def test_another_release_is_unpacked_and_kept_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kept_folder(PI4), work_folder(PI4)}
    monkeypatch.setattr(source, "SHA256", "f" * 64)
    assert len(before | {kept_folder(PI4), work_folder(PI4)}) == 4
