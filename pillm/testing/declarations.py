"""What a plugin declares: its hooks, its names, its options, and what importing it costs."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from types import ModuleType
from typing import Any

from pydantic_core import PydanticUndefined

from pillm.backends import Backend
from pillm.kinds import KINDS, kind_of
from pillm.options import configure, describe
from pillm.plugins import Registry

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "openai", "llama_cpp", "gguf", "numpy", "matplotlib")
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_SECRET = re.compile(r"(api_?key|secret|passw|(access|auth|bearer)_?token)(?!.*_env$)")


class ConformanceError(AssertionError):
    """A backend or a plugin does not keep the protocol; the sentence says which rule and what was seen."""


def require(kept: object, rule: str) -> None:
    """Raise ConformanceError with that sentence unless the rule is kept."""
    if not kept:
        raise ConformanceError(rule)


def check_plugin(plugin: ModuleType | object) -> list[type[Backend]]:
    """Check a plugin's hooks, its classes and, for a module, that its import is light; return its classes.

    Raises ConformanceError. Nothing is configured: check each backend with `check_teacher` and its like.
    """
    name = getattr(plugin, "__name__", type(plugin).__name__)
    registry = Registry()
    registry.register(plugin, name, distribution=name)
    status = registry.statuses[0]
    require(status.error is None, f"plugin {name!r} is broken: {status.error}")
    require(status.hooks, f"plugin {name!r} implements no hook of pillm; mark one with @pillm.hookimpl.")
    classes: list[type[Backend]] = []
    for kind in KINDS:
        hook = getattr(plugin, f"pillm_{kind}s", None)
        provided = list(hook()) if hook else []
        names = [getattr(cls, "name", None) for cls in provided]
        require(len(set(names)) == len(names), f"pillm_{kind}s of {name!r} returns one name twice: {names}.")
        for cls in provided:
            check_class(cls, kind)
        classes += provided
    if isinstance(plugin, ModuleType):
        check_import(plugin.__name__)
    return classes


def check_class(cls: type[Any], kind: str) -> None:
    """Check what a backend class says about itself; raise ConformanceError."""
    require(
        isinstance(cls, type) and issubclass(cls, KINDS[kind]), f"{cls!r} is not a subclass of pillm.{KINDS[kind].__name__}."
    )
    where = f"{kind} {cls.__name__}"
    name = getattr(cls, "name", None)
    require(
        isinstance(name, str) and _SLUG.fullmatch(name),
        f"{where} needs a name of small letters, digits and dashes, not {name!r}.",
    )
    require(
        cls.__doc__ and cls.__doc__ != KINDS[kind].__doc__, f"{where} needs a docstring; its first line is its description."
    )
    require(
        not inspect.isabstract(cls), f"{where} leaves abstract: {', '.join(sorted(getattr(cls, '__abstractmethods__', ())))}."
    )
    for option, value in {"frozen": True, "extra": "forbid"}.items():
        require(cls.model_config.get(option) == value, f"{where} must keep model_config {option}={value!r}.")
    for row in describe(cls):
        option = row["name"]
        require(row["description"], f"{where} option {option!r} needs a description.")
        require(
            not _SECRET.search(option),
            f"{where} option {option!r} looks like a secret. Take the name of an environment variable: {option}_env.",
        )


def check_import(module: str) -> None:
    """Check, in a fresh process, that importing a module loads no heavy library; raise ConformanceError."""
    code = f"import json, sys\nimport {module}\nprint(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (found.stderr.strip().splitlines() or ["no message"])[-1]
    require(found.returncode == 0, f"{module} cannot be imported on its own: {last}")
    heavy = json.loads(found.stdout.strip().splitlines()[-1])
    require(not heavy, f"importing {module} loads {', '.join(heavy)}; heavy imports belong in the methods that need them.")


def check_backend(backend: Backend) -> None:
    """Check a configured backend's class, options and identity; raise ConformanceError."""
    cls, kind = type(backend), kind_of(type(backend))
    check_class(cls, kind)
    where = f"{kind} {cls.name!r}"
    options, identity = backend.options(), backend.identity()
    for what, value in (("options()", options), ("identity()", identity)):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConformanceError(f"{what} of {where} is not plain JSON: {error}.") from error
    require(identity == backend.identity(), f"identity() of {where} differs from one call to the next.")
    require(identity.get("use") == cls.name, f"identity() of {where} must say use={cls.name!r}.")
    again = configure(cls, {name: value for name, value in options.items() if name != "use"}, kind=kind)
    require(again.identity() == identity, f"{where} built again from its own options() has another identity.")
    for name in (row["name"] for row in describe(cls) if not row["in_key"] and row["name"] in cls.model_fields):
        other = _other(getattr(backend, name), cls.model_fields[name].default)
        if other is not None:
            tuned = backend.model_copy(update={name: other})
            require(tuned.identity() == identity, f"identity() of {where} changes with {name!r}, which is declared key=False.")


def check_ready(backend: Backend) -> None:
    """Check a configured backend that is about to be put to work: then its `check` has nothing to refuse either."""
    check_backend(backend)
    where = f"{kind_of(type(backend))} {backend.name!r}"
    try:
        said = backend.check()  # type: ignore[func-returns-value]  # that is the question
    except Exception as error:
        raise ConformanceError(f"check() of {where} raised before it was put to work: {error}") from error
    require(said is None, f"check() of {where} must raise what stands in its way and give nothing, not {said!r}.")


def _other(value: Any, default: Any) -> Any:
    """Return another value of the same type, or None where none is obvious."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return None if default in (value, PydanticUndefined) else default
