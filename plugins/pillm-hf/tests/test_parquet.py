"""Parquet: read where pyarrow is installed, else told how to get it."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pillm_hf.tables.parquet import _plain, count_parquet, read_parquet

import pillm


def test_without_pyarrow_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for ask in (lambda: count_parquet(None), lambda: next(read_parquet(Path("x.parquet")))):
        with pytest.raises(pillm.MissingDependency, match=r"pip install './plugins/pillm-hf\[parquet\]'"):
            ask()


def test_values_become_what_json_has_and_bytes_are_refused() -> None:
    value = {"when": date(2026, 1, 2), "price": Decimal("1.50"), "list": (1, None, {"x": True})}
    assert _plain(value, "p") == {"when": "2026-01-02", "price": "1.50", "list": [1, None, {"x": True}]}
    with pytest.raises(pillm.DataError, match="p holds bytes"):
        _plain([b"x"], "p")
