"""One tree of errors, each with the exit code that the documentation promises."""

import pytest

from pillm import errors
from pillm.errors import Interrupted, PillmError, did_you_mean

CODES = {
    "PillmError": 1,
    "ConfigError": 2,
    "UnknownBackend": 2,
    "DataError": 2,
    "GateError": 3,
    "MissingDependency": 4,
    "Unavailable": 5,
    "UnsafeError": 6,
    "PluginError": 1,
    "BackendError": 1,
    "StorageError": 1,
    "Interrupted": 130,
}


def test_every_error_has_its_exit_code_and_stands_in_the_tree():
    classes = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, BaseException)}
    assert {name: cls.exit_code for name, cls in classes.items()} == CODES
    for name, code in CODES.items():
        line = next(line for line in errors.__doc__.splitlines() if name in line)
        assert str(code) in line


def test_an_interruption_is_not_swallowed_by_whoever_catches_errors():
    assert not issubclass(Interrupted, Exception)
    assert all(issubclass(getattr(errors, name), PillmError) for name in CODES if name != "Interrupted")


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("modle", ["model", "base"], " Did you mean 'model'?"),
        ("pi4", ["pi5-4gb", "pi4-2gb", "pi4-4gb"], " Did you mean 'pi4-2gb'?"),
        ("q4_k_m", ["Q4_K_M", "Q8_0"], " Did you mean 'Q4_K_M'?"),
        ("zzz", ["model"], ""),
        ("x", [], ""),
    ],
)
def test_a_near_miss_is_offered_and_a_far_one_is_not(word, known, said):
    assert did_you_mean(word, known) == said
