from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pillm.intake import asking
from pillm.testing.hostile import SOUND, TEMPLATE


def ask(task: dict[str, Any], *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-I", "-S", str(asking.CHILD), "2", "256", *words]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, env={}, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_path_has_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(SOUND)
    (tmp_path / "b.gguf").write_bytes(SOUND[:-99])
    sound, cut = ask({"files": [str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")]})
    assert sound == {"notes": [], "templates": [TEMPLATE]}
    assert "it may be cut off" in cut["fault"]["reason"]


def test_it_needs_no_site_packages_but_those_of_jinja(tmp_path: Path) -> None:
    assert ask({"folders": [str(tmp_path)]}) == [{"notes": [], "templates": []}]
    assert ask({"template": "{{ messages }}", "specials": {}}, *asking._jinja()) == [{"notes": [], "templates": []}]


def test_what_a_template_reaches_for_is_told(tmp_path: Path) -> None:
    (told,) = ask({"template": "{{ messages.__class__.__mro__ }}", "specials": {}}, *asking._jinja())
    assert "__class__" in told["fault"]["reason"]
