"""A plugin or a class that declares itself badly is told how, by its conformance check."""

import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from pydantic import Field

from pillm import Metric, Unavailable, hookimpl
from pillm.testing import FAKES, ConformanceError, LengthMetric, check_backend, check_metric, check_plugin, installed_plugin


class Nameless(Metric):
    """Has no name."""

    def score(self, prompt, answer):
        return 1.0


class Loud(Metric):
    """Has a loud name."""

    name: ClassVar[str] = "LOUD METRIC"

    def score(self, prompt, answer):
        return 1.0


class Undescribed(Metric):
    """Has an option without words."""

    name: ClassVar[str] = "undescribed"
    weight: int = 1

    def score(self, prompt, answer):
        return 1.0


class Secret(Metric):
    """Takes a secret as an option."""

    name: ClassVar[str] = "secret"
    api_key: str = Field("", description="Your key.")

    def score(self, prompt, answer):
        return 1.0


class Restless(Metric):
    """Has an identity that moves."""

    name: ClassVar[str] = "restless"

    def score(self, prompt, answer):
        return 1.0

    def identity(self):
        return {"use": "restless", "at": time.perf_counter_ns()}


class Tuned(Metric):
    """Has an identity that depends on tuning."""

    name: ClassVar[str] = "tuned"
    batch_size: int = Field(8, description="Rows at a time.", json_schema_extra={"key": False})

    def score(self, prompt, answer):
        return 1.0

    def identity(self):
        return {"use": "tuned", "batch_size": self.batch_size}


class Half(Metric):
    """Leaves its one method out."""

    name: ClassVar[str] = "half"


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Nameless, "needs a name"),
        (Loud, "'LOUD METRIC'"),
        (Undescribed, "'weight' needs a description"),
        (Secret, "looks like a secret"),
        (Half, "leaves abstract: score"),
        (dict, "not a subclass of pillm.Metric"),
    ],
)
def test_a_class_that_declares_itself_badly_is_told_how(cls, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_plugin(SimpleNamespace(pillm_metrics=hookimpl(lambda: [cls])))


@pytest.mark.parametrize(
    ("backend", "sentence"), [(Restless(), "from one call to the next"), (Tuned(), "changes with 'batch_size'")]
)
def test_an_identity_that_moves_is_found(backend, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_backend(backend)


class Unready(LengthMetric):
    """Says that something stands in its way, as told."""

    name: ClassVar[str] = "unready"
    raises: bool = Field(True, description="Raise it, or return it.")

    def check(self):
        if self.raises:
            raise Unavailable("the key is not set")
        return "the key is not set"


@pytest.mark.parametrize(("raises", "sentence"), [(True, "raised before it was put to work: the key"), (False, "give nothing")])
def test_a_backend_that_is_put_to_work_must_say_that_it_can(raises, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_metric(Unready(raises=raises))


def test_a_plugin_without_hooks_or_with_one_name_twice_is_refused():
    with pytest.raises(ConformanceError, match="implements no hook"):
        check_plugin(SimpleNamespace())
    with pytest.raises(ConformanceError, match="one name twice"):
        check_plugin(SimpleNamespace(pillm_metrics=hookimpl(lambda: [LengthMetric, LengthMetric])))


def test_a_misspelt_hook_is_refused():
    with pytest.raises(ConformanceError, match="pillm_teacher"):
        check_plugin(SimpleNamespace(pillm_teacher=hookimpl(lambda: [])))


def test_a_plugin_that_imports_something_heavy_is_named(tmp_path):
    source = "import numpy\n" + FAKES
    with installed_plugin(tmp_path, "heavy", source) as module, pytest.raises(ConformanceError, match="loads numpy"):
        check_plugin(__import__(module))
