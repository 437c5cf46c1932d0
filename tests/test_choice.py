"""The part of a report on how the quantisation was chosen."""

from __future__ import annotations

import re
from typing import Any

from pillm.report import RunFacts, build_report
from pillm.report.choice import HEADS, cells, choice_section
from pillm.report.choicefile import accepted
from pillm.report.markdown import markdown
from pillm.report.page import page

ROWS = {"in": 1, "answered": 1, "rejected": 0, "failed": 0, "pending": 0}


def trial(name: str, size: int, kld: float, *, front: bool = True, **more: Any) -> dict[str, Any]:
    return {"name": name, "bytes": size, "kld": kld, "front": front, "top1": 0.99, "score": 0.87, "tg_tps": 700.0, **more}


TRIALS = [
    trial("Q3_K_M", 1_000_000, 0.3),
    trial("Q4_0", 1_260_000, 0.05, front=False),
    trial("Q4_0-tuned", 1_260_000, 0.01, kept=True),
    trial("Q8_0", 2_140_000, 0.0004),
    trial("F16", 3_990_000, 0.0),
]
REASON = "Q4_0-tuned is the best trade."


def report(**changed: Any) -> dict[str, Any]:
    choice = accepted({"device": "pi4-4gb", "picked": "Q4_0-tuned", "reason": REASON, "trials": TRIALS, **changed})
    return build_report(RunFacts(recipe="r", rows=ROWS, choice=choice))


def test_the_page_shows_every_file_the_front_and_the_pick() -> None:
    said = choice_section(report())
    assert said is not None
    assert said.count("<svg") == 2, "one for wide screens, one for a phone"
    for one in TRIALS:
        assert f">{one['name']}</th>" in said
    assert REASON in said
    assert said.count('class="halo"') == 2, "one pick, drawn twice"
    wide = said.partition("</svg>")[0]
    points = re.search(r'points="([^"]*)"', wide)
    assert points is not None
    assert len(points[1].split()) == 3, "F16 has no divergence to draw, and what is beaten is not joined"
    assert ">Q4_0</text>" not in wide, "a beaten file is a mark without a name"
    assert page(report()).count('id="choice"') == 1


def test_the_figures_stand_in_the_order_of_the_heads() -> None:
    found = cells({**TRIALS[2], "pp_tps": None, "kept": True}, "Q4_0-tuned")
    assert len(found) == len(HEADS)
    assert found == ["Q4_0-tuned", "1.26 MB", "0.01", "99 %", "0.870", "700", "–", "ships"]
    assert cells({**TRIALS[1], "pp_tps": None, "kept": False}, "Q4_0-tuned")[-1] == "beaten"
    assert cells({**TRIALS[3], "pp_tps": None, "kept": True}, "Q4_0-tuned")[-1] == "kept"


def test_the_page_says_what_the_figures_rest_on() -> None:
    said = choice_section(report(metric="fields", rests_on={"compared": 204, "scored": 200}))
    assert said is not None
    assert "compared with the unquantised one on 204 validation texts." in said
    assert "The score is fields on 200 rows, asked of the files on the line alone." in said
    trained = choice_section(report(rests_on={"compared": 9, "seen": True}))
    assert trained is not None
    assert "on 9 rows that were trained on." in trained
    assert "The score is" not in trained


def test_markdown_has_the_table_and_the_reason() -> None:
    said = markdown(report())
    assert "## How the quantisation was chosen" in said
    assert "Q4\\_0-tuned is the best trade." in said
    assert "| Q3\\_K\\_M | 1.00 MB | 0.3 |" in said


def test_a_run_whose_exporter_did_not_choose_says_nothing_of_it() -> None:
    plain = build_report(RunFacts(recipe="r", rows=ROWS))
    assert choice_section(plain) is None
    assert "was chosen" not in markdown(plain)
    assert 'id="choice"' not in page(plain)


def test_a_single_file_has_a_table_and_no_plot() -> None:
    said = choice_section(report(trials=TRIALS[:1], picked="Q3_K_M"))
    assert said is not None
    assert "<svg" not in said
    assert "<table" in said
