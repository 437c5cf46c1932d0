"""Records that other programs left: what is none is passed over, and never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillm.report import foreignjson
from pillm.report.foreignjson import figure, read_foreign


@given(data=st.binary(max_size=64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_passed_over(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    read_foreign(tmp_path / "a.json")


def test_what_is_missing_too_deep_or_too_large_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    assert read_foreign(path) is None
    path.write_text("[" * 100_000)
    assert read_foreign(path) is None
    path.write_text('{"a": 1}')
    assert read_foreign(path) == {"a": 1}
    monkeypatch.setattr(foreignjson, "MAX_BYTES", 7)
    assert read_foreign(path) is None


@pytest.mark.parametrize("value", [True, None, "1", [], float("nan"), float("inf"), 2**53 + 1])
def test_what_is_no_number_is_no_figure(value: object) -> None:
    assert figure(value) is None


@pytest.mark.parametrize("value", [0, -1.5, 2**53])
def test_a_number_is_a_figure(value: float) -> None:
    assert figure(value) == value
