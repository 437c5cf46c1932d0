"""The plugin keeps the protocol that every plugin is held to; what does work is put to work in the other tests."""

from __future__ import annotations

import pillm_easydistill

import pillm
from pillm.testing import check_plugin


def test_the_plugin_declares_what_it_provides() -> None:
    assert {cls.__name__ for cls in check_plugin(pillm_easydistill)} == {"EasyDistillTeacher", "EasyDistillTrainer"}


def test_its_backends_are_found_by_name() -> None:
    assert pillm.teacher("easydistill", model="m", base_url="http://127.0.0.1:1/v1").name == "easydistill"
    assert pillm.trainer("easydistill", base="somewhere").name == "easydistill"
