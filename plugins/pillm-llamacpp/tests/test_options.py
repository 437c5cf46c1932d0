"""The options of a choice."""

from __future__ import annotations

from typing import Any

import pytest
from pillm_llamacpp.exporter import GGUFExporter

import pillm


def test_auto_stands_alone_and_chooses() -> None:
    for said in ("auto", ["auto"], "AUTO"):
        built = pillm.exporter("gguf", quants=said, device="pi4-4gb")
        assert isinstance(built, GGUFExporter)
        assert built.chooses
    assert not GGUFExporter().chooses


def test_budgets_are_read_as_people_write_them() -> None:
    built = GGUFExporter(
        quants="auto", device="pi4-4gb", max_bytes="1.5 MB", max_ram="2 GiB", min_tps=8, min_exact="0.98 of F16"
    )
    limits = built.limits
    assert (limits.max_bytes, limits.max_ram, limits.min_tps) == (1_500_000, 2 << 30, 8)
    assert (limits.min_exact, limits.relative) == (0.98, True)
    assert not GGUFExporter(quants="auto", device="pi4-4gb", min_exact=0.9).limits.relative


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quants": "auto"}, "name one, such as device=pi4-4gb"),
        ({"quants": "auto", "device": "pi9"}, "no device is called 'pi9'"),
        ({"quants": ["auto", "Q8_0"], "device": "pi4-4gb"}, "auto stands alone.*keep=front"),
        ({"quants": ["Q8_0", "AUTO"], "device": "pi4-4gb"}, "auto stands alone"),
        ({"quants": "auto", "device": "pi4-4gb", "metrics": "exactly"}, "exactly"),
        ({"quants": "auto", "device": "pi4-4gb", "metrics": [{"of": 1}]}, "needs 'use: NAME'"),
        ({"quants": "auto", "device": "pi4-4gb", "rows": 0}, "rows"),
        ({"quants": ["Q8_0"], "metrics": ["fields"]}, "metrics is for quants=auto alone"),
        ({"quants": ["Q8_0"], "device": "pi4-4gb"}, "device is for quants=auto alone"),
        ({"min_exact": "0.98 of F16"}, "min_exact is for quants=auto alone"),
        ({"quants": "auto", "device": "pi4-4gb", "min_exact": "good"}, "is not understood"),
        ({"quants": "auto", "device": "pi4-4gb", "max_bytes": "big"}, "is no size"),
        ({"quants": "auto", "device": "pi4-4gb", "weights": {"quality": -1}}, "weights are numbers from 0 up"),
        ({"quants": "auto", "device": "pi4-4gb", "weights": {}}, "weights are numbers from 0 up"),
        ({"quants": "auto", "device": "pi4-4gb", "weights": {"taste": 1}}, "weights"),
        ({"quants": "auto", "device": "pi4-4gb", "keep": "all"}, "keep"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(pillm.ConfigError, match=said):
        pillm.exporter("gguf", **options)


def test_the_metrics_are_those_that_were_asked_for_and_what_min_exact_needs() -> None:
    def names(**options: Any) -> list[str]:
        return [metric.name for metric in GGUFExporter(quants="auto", device="pi4-4gb", **options).scoring()]

    assert names() == ["exact"]
    assert names(metrics="fields") == ["fields"]
    assert names(metrics=[{"use": "fields"}, "json"], min_exact="0.98 of F16") == ["fields", "json", "exact"]
