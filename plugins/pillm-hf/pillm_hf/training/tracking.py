"""Send a training's figures to experiment trackers, through the classes that accelerate has for them.

Nothing is sent unless `report_to` names a tracker. Where a tracker sends to, and what it collects beside these figures, are its
own settings (`WANDB_MODE`, `MLFLOW_TRACKING_URI`, ...). A tracker that fails is told of once, without what may be a secret in
its words, and the training goes on.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "pillm"
"""The project, or experiment, that a training is filed under where the tracker's own variable names none."""
FOLDER = "tensorboard"
"""Where in the student's folder TensorBoard's files lie."""
_PROJECT_IN = {"wandb": "WANDB_PROJECT", "trackio": "TRACKIO_PROJECT"}  # mlflow's is read by its class
_MODULES = {"tensorboard": ("tensorboard", "tensorboardX")}  # either serves

_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth(?!or)", re.IGNORECASE)
_USER = re.compile(r"://\S*@")
_PASSWORD = re.compile(r"://[^/\s:@]*:(\S+)@")
_IN_QUERY = re.compile(rf"([?&][^=&\s]*(?:{_SECRET_NAME.pattern}|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_SHORTEST = 4
"""Characters of a secret: a variable's value of fewer is a switch, which would blot out half a sentence."""


def require(names: Sequence[str]) -> None:
    """Raise MissingDependency where a tracker is not installed."""
    missing = [name for name in names if not any(_is_installed(module) for module in _MODULES.get(name, (name,)))]
    if missing:
        raise pillm.MissingDependency(
            f"report_to={','.join(names)}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. "
            f"Nothing was trained yet. Install: pip install {' '.join(missing)}; or leave it out of report_to."
        )


def _is_installed(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.origin is not None  # a folder of that name, which trackers leave behind, has no origin


@contextmanager
def tracked(names: Sequence[str], config: Mapping[str, Any], out: Path, progress: pillm.Progress) -> Iterator[pillm.Progress]:
    """Give a progress whose figures also go to the trackers of those names, from start to end of a training.

    `config` is what they file the training under: plain values, in tables however deep. Raises MissingDependency.
    """
    require(names)
    if not names or not _is_first():
        yield progress
        return
    tracking = _Tracking(progress.warn)
    for name in names:
        tracking.start(name, config, out)
    try:
        yield progress.with_reader(tracking)
    finally:
        tracking.finish()


class _Tracking:
    """Reads progress events, and hands their figures to every tracker that has not failed."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._trackers: dict[str, GeneralTracker] = {}

    def start(self, name: str, config: Mapping[str, Any], out: Path) -> None:
        """Start a tracker, and tell it the training's options."""

        def begin() -> None:
            tracker = _make(name, out)
            tracker.start()
            self._trackers[name] = tracker
            tracker.store_init_configuration(_flat(config))

        self._try(name, begin)

    def __call__(self, event: pillm.Event) -> None:
        """Hand an event's figures on; the step is what is done."""
        if event.figures:
            for name, tracker in list(self._trackers.items()):
                self._try(name, lambda tracker=tracker: tracker.log(dict(event.figures), step=event.done))

    def finish(self) -> None:
        """Close every tracker."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, _end_trackio if name == "trackio" else tracker.finish)

    def _try(self, name: str, act: Callable[[], object]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # trackers print; standard output is for data
                act()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, hours of training are worth more
            self._trackers.pop(name, None)
            said = _without_secrets(" ".join(str(error).split()))
            self._warn(f"report_to: {name} failed ({type(error).__name__}: {said}); the training goes on without it.")


def _without_secrets(text: str) -> str:
    """Return text without the users and keys of addresses, and without what the environment holds under a secret's name."""
    values = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    values += [found for value in os.environ.values() for found in _PASSWORD.findall(value)]
    for value in sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, "***")
    return _IN_QUERY.sub(r"\1***", _USER.sub("://***@", text))


def _is_first() -> bool:
    """Return whether this is the only process of the training, or the first; accelerate's trackers ask the same of it."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _make(name: str, out: Path) -> GeneralTracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    if kind.requires_logging_directory:
        return kind(FOLDER, out)
    return kind(os.environ.get(_PROJECT_IN.get(name, ""), PROJECT))


def _end_trackio() -> None:
    """Finish trackio's run itself: left the current one, as accelerate leaves it, it says so at exit on standard output."""
    import trackio

    trackio.finish()


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return a table's values under names such as "distill.temperature"; what is neither number nor truth becomes text."""
    flat: dict[str, str | int | float | bool] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value if isinstance(value, (str, int, float, bool)) else str(value)
    return flat
