"""What other plugins may build on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pillm_hf
import pytest

PACKAGE = Path(pillm_hf.__file__).parent
PLUGINS = PACKAGE.parents[1]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


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


@pytest.mark.parametrize("plugin", ["trl", "easydistill"])
def test_plugins_that_build_on_this_one_use_its_public_names_alone(plugin: str) -> None:
    files = sorted(PLUGINS.glob(f"pillm-{plugin}/pillm_{plugin}/**/*.py"))
    if not files:
        pytest.skip(f"pillm-{plugin} is not beside this plugin")
    inner = {(path.name, name) for path in files for name in imports_of(path) if name.startswith("pillm_hf.")}
    assert not inner
