"""The plugin of the how-to is the one in `examples/plugin/`, and works as a stranger would install it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "plugin"
GUIDE = ROOT / "docs" / "how-to" / "write-a-plugin.md"


def shown():
    """Return (file, code) of every block of the guide whose line before names a file: `pillm_shout/teacher.py`:"""
    return re.findall(r"^`(\S+)`[^\n]*:\n\n```\w*\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_guide_shows_every_file_of_the_plugin_whole():
    files = {path.relative_to(PLUGIN).as_posix() for path in PLUGIN.rglob("*") if path.suffix in (".py", ".toml", ".yaml")}
    assert {name for name, _ in shown()} == files


@pytest.mark.parametrize(("name", "code"), shown(), ids=lambda value: value if len(value) < 40 else "")
def test_the_guide_shows_each_file_as_it_is(name, code):
    assert code == (PLUGIN / name).read_text("utf-8")


def test_the_plugin_keeps_its_own_tests_when_it_is_installed(tmp_path):
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text("utf-8"))["project"]
    info = tmp_path / f"pillm_shout-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["pillm"].items())
    (info / "entry_points.txt").write_text(f"[pillm]\n{points}")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PLUGIN), str(ROOT)]),
        "PILLM_PLUGINS": "shout",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PLUGIN), str(PLUGIN / "tests")]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
