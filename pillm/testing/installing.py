"""Install a plugin for the length of a test, through the door that strangers use, without pip."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pillm import plugins


def write_plugin(folder: Path, name: str, source: str, *, distribution: str | None = None, version: str = "1.0") -> str:
    """Write a module `pillm_NAME` and the metadata of a distribution into a folder; return the module's name."""
    module = f"pillm_{name.replace('-', '_')}"
    distribution = distribution or f"pillm-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(source, "utf-8")
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}\n", "utf-8")
    return module


@contextmanager
def installed_plugin(folder: Path, name: str, source: str, *, distribution: str | None = None) -> Iterator[str]:
    """Install a plugin whose module has that source while the context is open; yield the module's name.

    The folder holds the installation and goes on `sys.path`; the registry of plugins is read anew before and after.
    """
    module = write_plugin(folder, name, source, distribution=distribution)
    with on_path(folder):
        yield module


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Put a folder on `sys.path` while the context is open; look for plugins anew before and after, and forget its modules."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    plugins.registry.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]
        importlib.invalidate_caches()
        plugins.registry.cache_clear()


FAKES = "from pillm.testing.fakes import *\n"
"""The source of a plugin that provides every fake of `pillm.testing`."""
