"""What other plugins may build on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pillm_hf
import pytest

PACKAGE = Path(pillm_hf.__file__).parent


def test_every_public_name_is_what_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(seen) == sorted(pillm_hf._HOME_OF)
    for name, home in seen.items():
        assert home == f"pillm_hf.{pillm_hf._HOME_OF[name]}"
        assert getattr(pillm_hf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pillm_hf.nothing


def test_importing_them_all_waits_until_one_is_used() -> None:
    code = "import sys, pillm_hf; assert not {'torch', 'transformers'} & set(sys.modules); pillm_hf.Chat"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
