"""The plugin keeps the protocol that every plugin is held to."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pillm_trl
from pillm_trl import DPO

import pillm
from pillm.testing import check_plugin, check_trainer, on_path, sample_examples

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_the_plugin_declares_what_it_provides() -> None:
    assert {cls.name for cls in check_plugin(pillm_trl)} == {"dpo"}


def test_its_trainer_is_found_by_name_through_its_entry_point(tmp_path: Path) -> None:
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    info = tmp_path / f"pillm_trl-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pillm-trl\nVersion: {project['version']}\n", "utf-8")
    points = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["pillm"].items())
    (info / "entry_points.txt").write_text(f"[pillm]\n{points}", "utf-8")
    with on_path(tmp_path):
        assert isinstance(pillm.trainer("dpo", base="somewhere"), DPO)


def test_the_trainer_conforms(base: Path, tmp_path: Path) -> None:
    worse = {"role": "assistant", "content": "Non."}
    examples = [replace(row, prompt=replace(row.prompt, rejected=worse)) for row in sample_examples()]
    check_trainer(DPO(base=str(base), max_length=250), tmp_path, examples)
