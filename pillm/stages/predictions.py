"""Predictions: one row as it was asked, answered and scored; written, read back and compared in pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pillm.errors import DataError, StorageError
from pillm.files import write_json, write_text
from pillm.metrics import call_parts
from pillm.records import JSONObject, canonical
from pillm.rows import read_lines
from pillm.stages.intervals import Difference, difference

PREDICTIONS_FILE = "predictions.jsonl"
EVALUATION_FILE = "evaluation.json"
_CALLS = ("tool_calls", "reference_tool_calls")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One row as it was asked, answered and scored."""

    id: str
    prompt: str
    reference: str | None
    compared_with: str | None
    """Whose text `reference` is: "reference" (the truth), "teacher", or None."""
    answer: str | None
    finish_reason: str | None
    scores: dict[str, float]
    failure: JSONObject | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    tool_calls: tuple[JSONObject, ...] = ()
    """The answer's tool calls, as it made them."""
    reference_tool_calls: tuple[JSONObject, ...] = ()

    @property
    def shown_answer(self) -> str | None:
        """Return the answer as one text, its tool calls as compact JSON; None without an answer."""
        return _shown(self.answer, self.tool_calls)

    @property
    def shown_reference(self) -> str | None:
        """Return the reference as one text, its tool calls as compact JSON; None without a reference."""
        return _shown(self.reference, self.reference_tool_calls)


def _shown(text: str | None, calls: tuple[JSONObject, ...]) -> str | None:
    if not calls:
        return text
    said = f"[{','.join(map(_compact, calls))}]"
    return f"{text}\n{said}" if text else said


def _compact(call: JSONObject) -> str:
    """Return a tool call without its id, so that equal calls look equal; one that is no JSON as it was written."""
    try:
        name, arguments = call_parts(call)
        return f'{{"name":{canonical(name)},"arguments":{canonical(arguments)}}}'
    except ValueError:
        return json.dumps(call.get("function", call), ensure_ascii=False, separators=(",", ":"))


def tally(predictions: Iterable[Prediction]) -> dict[str, int]:
    """Return how many rows got no answer (`failed`) and how many answers were cut off by their length limit (`cut`)."""
    rows = list(predictions)
    return {
        "failed": sum(row.failure is not None for row in rows),
        "cut": sum(row.finish_reason == "length" for row in rows),
    }


def read_predictions(path: Path | str) -> list[Prediction]:
    """Read the predictions of a file, or of a folder that `evaluate` wrote; raise DataError where it cannot be read."""
    path = Path(path)
    path = path / PREDICTIONS_FILE if path.is_dir() else path
    found = []
    for where, row in read_lines(path):
        try:
            calls = {name: tuple(row.get(name) or ()) for name in _CALLS}  # absent where there are none
            found.append(Prediction(**{**row, **calls, "tags": tuple(row["tags"])}))
        except (KeyError, TypeError) as error:
            raise DataError(f"{where}: not a prediction ({error}). Give a file that `pillm evaluate` wrote.") from error
    return found


def compare(left: Iterable[Prediction], right: Iterable[Prediction], *, seed: int = 0) -> dict[str, Difference]:
    """Return for each metric the paired difference right - left over the rows that both answered."""
    sides = [list(left), list(right)]
    names = [name for name in metric_names(sides[0]) if name in metric_names(sides[1])]
    scored = [{name: {row.id: row.scores[name] for row in side if name in row.scores} for name in names} for side in sides]
    groups = {row.id: row.group for row in sides[0]}
    found = {name: difference(scored[0][name], scored[1][name], groups=groups, seed=seed) for name in names}
    return {name: one for name, one in found.items() if one is not None}


def metric_names(predictions: Iterable[Prediction]) -> list[str]:
    """Return the metrics that scored any row, in the order of first use."""
    return list(dict.fromkeys(name for row in predictions for name in row.scores))


def write_predictions(out: Path, predictions: Iterable[Prediction], summary: JSONObject) -> None:
    """Write `predictions.jsonl` and `evaluation.json` into a folder; raise StorageError where that fails."""
    # half of a surrogate pair cannot be stored as UTF-8; an answer that holds one is kept all the same
    lines = "".join(json.dumps(_line(row), ensure_ascii=False) + "\n" for row in predictions)
    try:
        write_text(out / PREDICTIONS_FILE, _SURROGATE.sub("\ufffd", lines))
        write_json(out / EVALUATION_FILE, summary)
    except OSError as error:
        raise StorageError(f"{out}: the evaluation could not be written ({error}). Nothing half-written was left.") from error


def _line(row: Prediction) -> JSONObject:
    return {name: value for name, value in asdict(row).items() if value or name not in _CALLS}
