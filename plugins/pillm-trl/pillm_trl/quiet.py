"""While TRL works nothing is printed, nothing is reported to anybody, and what the process had set is restored afterwards."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKERS = ("trl", "transformers", "accelerate", "datasets", "peft", "huggingface_hub")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",  # TRL's bar over the base's log-probabilities has no other switch
}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep libraries silent and off the network, and the process's random numbers as they are, while the context lasts."""
    with _environment(), _silence(), _own_draws():
        yield


@contextmanager
def _environment() -> Iterator[None]:
    from huggingface_hub import constants

    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    read_already = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
    os.environ.update(_ENVIRONMENT)
    constants.HF_HUB_OFFLINE = constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = read_already
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _silence() -> Iterator[None]:
    import datasets
    from pillm_hf import quiet

    shown = datasets.is_progress_bar_enabled()
    levels = {name: logging.getLogger(name).level for name in _TALKERS}
    datasets.disable_progress_bars()
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def _own_draws() -> Iterator[None]:
    """Restore the random numbers afterwards: transformers seeds those of Python, numpy and torch."""
    import numpy
    import torch

    drawn, drawn_numpy = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(drawn)
        numpy.random.set_state(drawn_numpy)
