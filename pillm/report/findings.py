"""What the scores say: the file to ship, and which rows went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pillm.artifacts import CHOICE_FILE, Evaluation, SubjectKind
from pillm.errors import PillmError
from pillm.records import JSONObject
from pillm.stages.predictions import Prediction, read_predictions

MAIN_METRIC = "exact"
MAIN_SET = "test"
CHOOSING_SET = "validation"
"""The rows that files are chosen on: what is reported is never chosen by."""
NEAR = 0.02
"""A smaller file is worth its loss up to here."""
MAX_WRONG = 40
MAX_TEXT = 2000

Whose: TypeAlias = tuple[SubjectKind, str, str]
"""Kind, name and set of a subject's evaluation; the name alone is not enough: teacher and base may both be called so."""
Predictions = Mapping[Whose, Sequence[Prediction]]


def load_predictions(evaluations: Sequence[Evaluation]) -> Predictions:
    """Read what was predicted; an evaluation whose predictions are gone is left out."""
    found: dict[Whose, Sequence[Prediction]] = {}
    for one in evaluations:
        if one.predictions is None:
            continue
        try:
            found[whose(one)] = read_predictions(one.predictions)
        except PillmError:
            continue
    return found


def whose(one: Evaluation) -> Whose:
    """Return what names an evaluation's predictions."""
    return one.kind, one.subject, one.set


def main_metric(evaluations: Sequence[Evaluation]) -> str | None:
    """Return the metric that headline and plots show: `exact` where there is one, else the first."""
    names = [name for one in evaluations for name in one.metrics]
    return MAIN_METRIC if MAIN_METRIC in names else next(iter(names), None)


def main_set(evaluations: Sequence[Evaluation]) -> str | None:
    """Return the set that headline and plots show: `test` where there is one, else the first."""
    names = [one.set for one in evaluations]
    return MAIN_SET if MAIN_SET in names else next(iter(names), None)


def on_main_set(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations that headline and plots show."""
    chosen = main_set(evaluations)
    return [one for one in evaluations if one.set == chosen]


By: TypeAlias = Literal["choice", "only", "validation", "reported"]


@dataclass(frozen=True, slots=True)
class Pick:
    """The file to take, as it scores on the reported rows, and what it was chosen by."""

    evaluation: Evaluation
    by: By

    @property
    def why(self) -> str:
        """Return what it was chosen by, as the end of a sentence."""
        smallest = f"the smallest file that scores within {NEAR} of the best"
        return {
            "choice": f"the exporter chose it; {CHOICE_FILE} says by what",
            "only": "it is the only file",
            "validation": f"{smallest} on the validation rows",
            "reported": f"{smallest} on {self.evaluation.set}, the very rows that are reported, as no others were set aside to "
            "choose on: its score flatters it a little",
        }[self.by]


def pick(evaluations: Sequence[Evaluation], sizes: Mapping[str, int], choice: JSONObject | None = None) -> Pick | None:
    """Return the file to take: the exporter's own choice, else the smallest that scores within 0.02 of the best one.

    `choice` is what `read_choice` read. Files are compared on the validation rows; where not all were scored on them, on the
    reported ones, and the pick says so.
    """
    metric = main_metric(evaluations)
    files = {one.subject: one for one in on_main_set(evaluations) if one.kind == "model" and metric in one.metrics}
    if metric is None or not files:
        return None
    picked = (choice or {}).get("picked")
    chosen = next((one for one in files.values() if picked is not None and one.quant == picked), None)
    if chosen is not None:
        return Pick(chosen, "choice")
    if len(files) == 1:
        return Pick(next(iter(files.values())), "only")
    apart = [one for one in evaluations if one.set == CHOOSING_SET and one.kind == "model" and metric in one.metrics]
    unseen = {one.subject for one in apart} >= set(files)
    means = {one.subject: one.metrics[metric].mean for one in (apart if unseen else files.values()) if one.subject in files}
    near = [name for name, mean in means.items() if mean >= max(means.values()) - NEAR - 1e-9]
    best = min(near, key=lambda name: (sizes.get(name, 0), -means[name]))
    return Pick(files[best], "validation" if unseen else "reported")


def wrong_rows(evaluations: Sequence[Evaluation], predictions: Predictions, chosen: Evaluation | None) -> list[JSONObject]:
    """Return up to 40 rows that the chosen file got wrong, from all reported sets in turn, with what everybody answered."""
    metric = main_metric(evaluations)
    if chosen is None or metric is None:
        return []
    sets = [name for name in dict.fromkeys(one.set for one in evaluations) if name != CHOOSING_SET]
    answers = {key: {row.id: row for row in rows} for key, rows in predictions.items()}
    teachers = {one.set: answers.get(whose(one), {}) for one in evaluations if one.kind == "teacher"}

    def lost(name: str, row: Prediction) -> bool:
        """Say whether the teacher was right, so that the row was lost on the way; those come first."""
        known = teachers.get(name, {}).get(row.id)
        return known is not None and known.scores.get(metric, 0.0) >= 1.0

    queues = {}
    for name in sets:
        given = predictions.get((chosen.kind, chosen.subject, name), ())
        wrong = [row for row in given if row.scores.get(metric, 1.0) < 1.0]
        queues[name] = sorted(wrong, key=lambda row: not lost(name, row))
    found: list[JSONObject] = []
    for place in range(MAX_WRONG):
        for name in sets:
            if place < len(queues[name]) and len(found) < MAX_WRONG:
                found.append(_wrong_row(queues[name][place], name, evaluations, answers))
    return sorted(found, key=lambda row: sets.index(row["set"]))


def wrong_count(predictions: Predictions, chosen: Evaluation | None, metric: str | None) -> int:
    """Return how many rows of all reported sets the chosen file got wrong."""
    if chosen is None or metric is None:
        return 0
    ours = (chosen.kind, chosen.subject)
    rows = [
        row
        for (kind, subject, name), found in predictions.items()
        if (kind, subject) == ours and name != CHOOSING_SET
        for row in found
    ]
    return sum(row.scores.get(metric, 1.0) < 1.0 for row in rows)


def _wrong_row(
    row: Prediction, name: str, evaluations: Sequence[Evaluation], answers: Mapping[Whose, Mapping[str, Prediction]]
) -> JSONObject:
    said: dict[str | None, list[str]] = {}
    teacher = None
    for one in evaluations:
        other = answers.get(whose(one), {}).get(row.id) if one.set == name else None
        if other is None or one.kind in ("base", "adapter"):
            continue
        if one.kind == "teacher":
            teacher = short(other.shown_answer)
        else:
            said.setdefault(short(other.shown_answer), []).append(one.subject)
    return {
        "set": name,
        "id": row.id,
        "prompt": short(row.prompt),
        "reference": short(row.shown_reference),
        "compared_with": row.compared_with,
        "teacher": teacher,
        "answers": [{"subjects": subjects, "answer": answer} for answer, subjects in said.items()],
        "failure": row.failure,
        "tags": list(row.tags),
    }


def short(text: str | None) -> str | None:
    """Return a text as the report shows it: no longer than a screen, and nothing that UTF-8 cannot carry."""
    if text is None:
        return None
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"
