"""The report of a run: facts -> one document -> `report.json`, `report.md` and `report.html`."""

from __future__ import annotations

from pathlib import Path

from pillm.files import write_json, write_text
from pillm.records import JSONObject
from pillm.report.choicefile import read_choice
from pillm.report.document import build_report
from pillm.report.facts import RunFacts
from pillm.report.trainingfile import read_training

__all__ = ["RunFacts", "build_report", "read_choice", "read_training", "write_report"]


def write_report(facts: RunFacts, out: Path | str) -> JSONObject:
    """Write `report.json`, `report.md` and `report.html` into a folder, each whole or not at all, and return the document.

    Raises DataError where the rows do not balance, StorageError where a file cannot be written.
    """
    from pillm.report.markdown import markdown
    from pillm.report.page import page

    out = Path(out)
    report = build_report(facts, out)
    texts = {"report.md": markdown(report), "report.html": page(report)}
    write_json(out / "report.json", report)
    for name, text in texts.items():
        write_text(out / name, text)
    return report
