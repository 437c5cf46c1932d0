"""The questions asked of plugins: prefixed, documented, without arguments, and answered by nothing at first."""

import inspect

import pluggy
import pytest

from pillm import hookspecs
from pillm.kinds import KINDS

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("pillm_")}


def test_there_is_one_hook_per_kind_of_backend_and_some_for_places():
    assert set(HOOKS) == {f"pillm_{kind}s" for kind in KINDS} | {"pillm_models", "pillm_tables"}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_a_specification_with_a_sentence_and_a_neutral_answer(name):
    function = HOOKS[name]
    assert function.pillm_spec
    assert function.__doc__.startswith("Return ")
    assert not list(function())
    assert not inspect.signature(function).parameters


def test_a_marked_function_implements_a_hook():
    manager = pluggy.PluginManager("pillm")
    manager.add_hookspecs(hookspecs)

    class Plugin:
        @staticmethod
        @hookspecs.hookimpl
        def pillm_models():
            return {"tiny": "folder"}

    manager.register(Plugin)
    manager.check_pending()
    assert manager.hook.pillm_models() == [{"tiny": "folder"}]
