"""What is installed, as plain data: the backends, their options, and who brings them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pillm.backends import Backend, Runner
from pillm.kinds import KINDS
from pillm.options import describe
from pillm.plugins import PluginStatus, registry

if TYPE_CHECKING:
    from collections.abc import Iterator


def summary(cls: type[Backend]) -> str:
    """Return the first line of a backend's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def installed(kind: str | None = None) -> Iterator[tuple[str, str, PluginStatus, type[Backend]]]:
    """Yield kind, name, plugin and class of every installed backend, sorted."""
    for each in [kind] if kind else KINDS:
        for name, claims in sorted(registry().provided(each).items()):
            for status, cls in claims:
                yield each, name, status, cls


def card(kind: str, name: str, status: PluginStatus, cls: type[Backend]) -> dict[str, Any]:
    """Return what is known about one backend."""
    found: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "description": summary(cls),
        "distribution": status.distribution,
        "version": status.version,
        "options": describe(cls),
    }
    if issubclass(cls, Runner):
        found["reads"] = sorted(cls.reads)
    return found


def clashes() -> list[tuple[str, str, list[str]]]:
    """Return (kind, name, distributions) for every name that is claimed twice."""
    return [
        (kind, name, [status.distribution for status, _ in claims])
        for kind in KINDS
        for name, claims in sorted(registry().provided(kind).items())
        if len(claims) > 1
    ]


def failures() -> dict[str, str]:
    """Return the plugins that raise when they are asked what they provide, and what they raise."""
    found: dict[str, str] = {}
    for status in registry().statuses:
        for hook in status.hooks:
            impls = getattr(registry().manager.hook, hook).get_hookimpls()
            try:
                next(impl for impl in impls if impl.plugin_name == status.name).function()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a plugin may call sys.exit, and must not stop pillm
                found.setdefault(status.name, f"{hook}: {type(error).__name__}: {error}")
    return found
