from __future__ import annotations

import re
from pathlib import Path

import pillm
from pillm.capabilities import CAPABILITIES, OPTIONS

GUIDE = Path(__file__).parents[1] / "docs" / "how-to" / "write-a-plugin.md"


def test_each_capability_is_explained_to_whoever_writes_a_plugin():
    told = set(re.findall(r"^  \| `(\w+)` \|", GUIDE.read_text("utf-8"), re.M))
    assert set(CAPABILITIES) <= told


def test_an_option_belongs_to_a_capability():
    assert OPTIONS.keys() <= CAPABILITIES.keys()


def test_a_runner_answers_unless_it_says_otherwise():
    assert pillm.Runner.capabilities == {"answer"}
