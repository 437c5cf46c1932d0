from __future__ import annotations

from pydantic import BaseModel

from pillm.distributions import home_of


def test_a_class_comes_from_the_distribution_of_its_package():
    home = home_of(BaseModel)
    assert home
    assert home.name == "pydantic"


def test_a_class_of_a_script_comes_from_no_distribution():
    assert home_of(type("Alone", (), {"__module__": "a_script_of_my_own"})) is None
