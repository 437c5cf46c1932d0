"""The JSON Schema of `report.json`; `schemas/report.schema.json` is made from here and a test keeps it equal."""

from __future__ import annotations

import json
from typing import Any

from pillm.records import JSONObject
from pillm.report.ladder import STAGES
from pillm.report.trainingfile import CROSS_ENTROPY, DIVERGENCES, SOURCES

_COUNT: JSONObject = {"type": "integer", "minimum": 0}
_NUMBER: JSONObject = {"type": "number"}
_TEXT: JSONObject = {"type": "string"}
_SPEED: JSONObject = {"type": ["number", "null"], "minimum": 0}
_KIND: JSONObject = {"enum": ["teacher", "base", "adapter", "checkpoint", "model", "device"]}
_BASIS: JSONObject = {"enum": ["measured", "predicted", "emulated"]}


def _object(required: JSONObject, optional: JSONObject | None = None, **more: Any) -> JSONObject:
    """Return the schema of an object; keys that are not named here may be added by later versions."""
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}, **more}


def _table(of: JSONObject) -> JSONObject:
    return {"type": "object", "additionalProperties": of}


def _list(of: JSONObject) -> JSONObject:
    return {"type": "array", "items": of}


def _maybe(of: JSONObject) -> JSONObject:
    return {"anyOf": [of, {"type": "null"}]}


_INTERVAL = {"mean": _NUMBER, "low": _NUMBER, "high": _NUMBER}
_APPLIED = {**_COUNT, "description": "The rows that the metric applied to; fewer than the set has where it did not apply."}
_FIGURES = _table(_object({**_INTERVAL, "rows": _APPLIED}, description="A mean with its 95 % interval."))
_ROWS = _object(
    dict.fromkeys(("in", "answered", "rejected", "failed", "pending"), _COUNT),
    description="Where every labelled row ended: in = answered + rejected + failed + pending.",
)
_MEASURED = _object(
    {**_INTERVAL, "p99": _NUMBER, "largest": _NUMBER, "top1": _NUMBER, "positions": _COUNT},
    description="KL(unquantised file || this one) in nats over answer tokens, and how often both choose the same token.",
)
_MODEL = _object(
    {
        "file": {**_TEXT, "description": "Relative to the run folder."},
        "quant": _TEXT,
        "bytes": _COUNT,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    {
        "types": {**_table(_COUNT), "description": "How many tensors have each storage type."},
        "divergence": {**_maybe(_MEASURED), "description": "On conversations that were not trained on."},
        "imatrix": {"type": "boolean", "description": "Whether an importance matrix weighed the rounding."},
    },
)
_EVALUATION = _object(
    {
        "subject": _TEXT,
        "kind": _KIND,
        "set": {**_TEXT, "description": "test, handwritten, community, or a set of the recipe's own."},
        "quant": {"type": ["string", "null"]},
        "rows": _COUNT,
        "metrics": _FIGURES,
    },
    {
        "tags": {**_table(_FIGURES), "description": "The metrics of the rows with each tag."},
        "compared_with": {**_TEXT, "description": "reference, teacher, or both: what exact and fields compared with."},
        "failed": {**_COUNT, "description": "Rows without an answer; they score 0."},
        "cut": {**_COUNT, "description": "Answers that hit the token limit; they are scored as they are."},
        "seconds": _NUMBER,
        "predictions": {"type": ["string", "null"], "description": "Relative to the run folder."},
    },
)
_BENCHMARK = _object({"model": _TEXT, "device": _TEXT, "basis": _BASIS, "pp_tps": _SPEED, "tg_tps": _SPEED})
_MEASURED = _object(
    {"number": _COUNT, "at": _TEXT, "pp_tps": _NUMBER, "tg_tps": _NUMBER, "low": _NUMBER, "high": _NUMBER, "void": _list(_TEXT)}
)
_TREND = _object(
    {"model": _TEXT, "device": _TEXT, "pp": _COUNT, "tg": _COUNT, "measured": _list(_MEASURED)},
    {
        "sha256": {"type": ["string", "null"]},
        "basis": _BASIS,
        "replaces": {"type": ["string", "null"], "description": "The sha256 of the file that had this name before."},
    },
)
_INSTEAD = _object(
    {"what": _TEXT, "device": _TEXT, "quant": _TEXT, "context": _COUNT, "bytes": _COUNT, "fits": {"type": "boolean"}},
    {
        "tg_tps": {"type": ["number", "null"]},
        "pp_tps": {"type": ["number", "null"]},
        "extrapolated": {"type": "boolean"},
        "tight": {"type": "boolean"},
    },
)
_PLAN = _object(
    {"model": _TEXT, "device": _TEXT, "quant": _TEXT, "fits": {"type": "boolean"}, "verdict": _TEXT, "basis": _BASIS},
    {
        "memory": {**_table(_COUNT), "description": "Bytes by purpose."},
        "tight": {"type": "boolean", "description": "It fits only where pages of the file are taken back."},
        "reclaimable": {**_COUNT, "description": "Bytes of memory that the system may take back."},
        "context": _COUNT,
        "alternatives": _list(_INSTEAD),
    },
)
_STAGE: JSONObject = {"enum": list(STAGES)}
_FIRST = _object(
    {"id": _TEXT, "prompt": _TEXT, "was": {"type": ["string", "null"]}, "became": {"type": ["string", "null"]}},
    description="The first row that got worse.",
)
_CHECK = _object({"stage": _STAGE, "what": _TEXT, "file": _TEXT, "ok": {"type": "boolean"}}, {"detail": _TEXT})
_LOST = _object(
    {"stage": _STAGE, "from": _TEXT, "to": _TEXT, "metric": _TEXT, **_INTERVAL, "rows": _COUNT, "why": _TEXT},
    {"from_kind": _KIND, "to_kind": _KIND, "worse": _COUNT, "first": _FIRST},
)
_STEP = _object(
    {"set": _TEXT, "metric": _TEXT, "from": _TEXT, "to": _TEXT, **_INTERVAL, "rows": _COUNT, "better": _COUNT, "worse": _COUNT},
    {
        "units": {**_COUNT, "description": "Groups, and rows that stand alone; fewer than six decide nothing."},
        "from_kind": {**_KIND, "description": "Teacher and base may have one name."},
        "to_kind": _KIND,
        "stage": _STAGE,
        "changed": {**_COUNT, "description": "Rows that got another answer, right or wrong."},
        "first": _FIRST,
    },
    description="The paired difference to - from, over the same rows, with its bootstrap 95 % interval.",
)
_PICK = _object(
    {"model": _TEXT, "quant": {"type": ["string", "null"]}, "bytes": {"type": ["integer", "null"]}, "score": _NUMBER},
    {name: {"type": ["number", "null"]} for name in ("teacher", "base", "kept")}
    | {"by": {"enum": ["choice", "only", "validation", "reported"]}, "why": _TEXT},
    description="The file to take: `by` what it was chosen, and `why` in words.",
)
_WRONG_TEXT: JSONObject = {"type": ["string", "null"]}
_SAID: JSONObject = {**_WRONG_TEXT, "description": "Text, and tool calls as compact JSON without their ids."}
_WRONG = _object(
    {"set": _TEXT, "id": _TEXT, "prompt": _TEXT, "reference": _SAID, "teacher": _SAID},
    {"answers": _list(_object({"subjects": _list(_TEXT), "answer": _SAID}))},
)
_FIGURE: JSONObject = {"type": ["number", "null"]}
_GATE = _object(
    {"gate": _TEXT, "model": _TEXT, "value": _FIGURE, "bound": _FIGURE}
    | {"met": {"type": ["boolean", "null"], "description": "Null: not judged, for its measurement is void."}},
    {"reason": {"type": ["string", "null"], "description": "Why the gate could not be checked, or not judged."}},
)
_COUNT_OR_NONE: JSONObject = {"type": ["integer", "null"], "minimum": 0}
_POINT = {"step": _COUNT, "loss": _NUMBER}
_VALIDATION = _object(
    _POINT, {"accuracy": {"type": "number", "description": "The share of answer tokens that the student ranks first."}}
)
_SIZES = _object({"before": _COUNT, "after": _COUNT})
_START = _object(
    {"init": {"enum": ["base", "random"]}},
    dict.fromkeys(("layers", "vocabulary", "hidden_size", "head_bytes"), _SIZES),
    description="What the student was cut from, where it has another shape than its base.",
)
_DISTILLATION = _object(
    {"source": {"enum": list(SOURCES)}},
    {
        "positions": {**_COUNT_OR_NONE, "description": "Answer tokens for which a teacher's distribution was known."},
        "answer_tokens": _COUNT_OR_NONE,
        "rows_left_out": {**_table(_COUNT), "description": "How many rows were learnt from their labels alone, by reason."},
    },
    description="Whose distributions were learnt beside the labels.",
)
_DIVERGENCE: JSONObject = {**_list(_object(_POINT)), "description": "The divergence from the teacher, in nats."}
_TRAINING = _object(
    {"loss": _list(_object(_POINT)), "validation": _list(_VALIDATION)},
    {
        "best": {**_maybe(_VALIDATION), "description": "The validation that the trainer calls its best."},
        "stopped_early": {"type": ["boolean", "null"]},
        "rounded": {
            **_maybe(_object({"type": _TEXT, "after_step": _COUNT})),
            "description": "The quantisation whose grid the weights were rounded to in all steps after that one.",
        },
        **dict.fromkeys(("steps", "tokens", "answer_tokens", "rows", "parameters", "learnt_parameters"), _COUNT_OR_NONE),
        "rows_left_out": {**_table(_COUNT), "description": "How many rows were not trained on, by reason."},
        "distillation": _DISTILLATION,
        "loss_is": {"enum": [CROSS_ENTROPY], "description": "What `loss` is of a training whose own loss is part divergence."},
        **dict.fromkeys(DIVERGENCES, _DIVERGENCE),
        **dict.fromkeys(("seconds", "tokens_per_second"), _SPEED),
        "start": _START,
    },
    description="What the trainer's training.json says, as far as it makes sense; long curves are thinned.",
)
_FLAG: JSONObject = {"type": "boolean"}
_PREDICTED: JSONObject = {**_FIGURE, "description": "Predicted for the device."}
_TRIAL = _object(
    {"name": _TEXT, "bytes": _COUNT, "kld": {**_NUMBER, "description": "From the unquantised file, nats per token."}},
    {
        **dict.fromkeys(("kld_low", "kld_high"), _FIGURE),
        "top1": {**_FIGURE, "description": "The share of positions at which it ranks the same token first."},
        "score": {**_FIGURE, "description": "On validation rows, by `metric`; of the files that none beats without it."},
        **dict.fromkeys(("tg_tps", "pp_tps"), _PREDICTED),
        "front": {**_FLAG, "description": "Whether no other file beats it in everything."},
        **dict.fromkeys(("kept", "imatrix", "rounded"), _FLAG),
    },
)
_RESTED_ON: JSONObject = {**_COUNT_OR_NONE, "description": "Rows that the figures rest on."}
_CHOICE = _object(
    {"trials": _list(_TRIAL)},
    {
        **dict.fromkeys(("device", "picked", "reason"), _WRONG_TEXT),
        "metric": {**_WRONG_TEXT, "description": "What the score is of."},
        **dict.fromkeys(("compared", "scored"), _RESTED_ON),
        "seen": {**_FLAG, "description": "Whether these rows were trained on, for want of others."},
    },
    description="The quantisations that an exporter tried, and the one that it chose.",
)
_EMULATED = _object(
    {
        **dict.fromkeys(("model", "runner", "row", "prompt", "answer", "here"), _TEXT),
        "same": _FLAG,
        "unit": {"enum": ["tokens", "characters"]},
        "compared": _COUNT,
    },
    {"parts_at": _COUNT_OR_NONE, "seconds": _NUMBER},
    description="One held-out row, answered by the device's own program on its processor as an emulator plays it.",
)
_MEDIAN: JSONObject = {**_COUNT_OR_NONE, "description": "Of a middling row."}
_SPAN: JSONObject = {
    "type": ["array", "null"],
    "items": {"type": "number", "minimum": 0},
    "minItems": 2,
    "maxItems": 2,
    "description": "Where nine in ten measured speeds like this one lie; null: not known.",
}
_ON_DEVICE = _object(
    {"device": _TEXT, "title": _TEXT, "model": _TEXT, "basis": _BASIS, "fits": _FLAG},
    {
        **dict.fromkeys(("tg_tps", "pp_tps", "first_token_seconds", "answer_seconds"), _PREDICTED),
        **dict.fromkeys(("prompt_tokens", "answer_tokens"), _MEDIAN),
        **dict.fromkeys(("tg_interval", "pp_interval"), _SPAN),
        "trust": {**_COUNT_OR_NONE, "description": "Of the speeds: 3 fitted on measurements, 2 published, 1 estimated."},
        "extrapolated": {**_FLAG, "description": "Whether the speeds lie outside what they were fitted on."},
        "unknown": {"type": ["string", "null"], "description": "Why no speed is told, where none is."},
        "memory": _object({"needed": _COUNT, "available": _COUNT_OR_NONE}),
        "tight": {**_FLAG, "description": "It fits only where pages of the file are taken back."},
        "note": {**_TEXT, "description": "What weakens the prediction."},
        "emulated": _maybe(_EMULATED),
        "not_emulated": {**_WRONG_TEXT, "description": "Why nothing was emulated, where it could have been."},
    },
    description="What the chosen file would do on the recipe's device.",
)

SCHEMA: JSONObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "pillm report",
    "description": "report.json: what a run made, how good and how fast it is, and what it depends on.",
    **_object(
        {
            "schema_version": {"const": 1},
            "recipe": {**_TEXT, "description": "The recipe's name."},
            "rows": _ROWS,
            "parity": _maybe(_object({"rows": _COUNT, "mismatches": _COUNT})),
            "models": _list(_MODEL),
            "evaluations": _list(_EVALUATION),
            "benchmarks": _list(_BENCHMARK),
            "seconds": _table({"type": "number", "minimum": 0}),
            "versions": _table(_TEXT),
        },
        {
            "at": {**_TEXT, "format": "date-time"},
            "folder": {"type": ["string", "null"], "description": "The run folder as it was given, where that was relative."},
            "device": {"type": ["string", "null"]},
            "main": _object({"metric": _WRONG_TEXT, "set": _WRONG_TEXT}),
            "pick": _maybe(_PICK),
            "training": _maybe(_TRAINING),
            "choice": _maybe(_CHOICE),
            "splits": _table(_COUNT),
            "sizes": {**_table(_COUNT), "description": "Bytes of what was there before: teacher, base, checkpoint."},
            "plans": _list(_PLAN),
            "ladder": {**_list(_STEP), "description": "Where quality was won and lost."},
            "lost": _object(
                {"sentence": _TEXT, "stages": _list(_LOST)}, description="The stages that lost quality beyond chance."
            ),
            "checks": {**_list(_CHECK), "description": "What was told of the files without asking them anything."},
            "on_device": _maybe(_ON_DEVICE),
            "wrong": _object({"count": _COUNT, "rows": _list(_WRONG)}),
            "gates": _list(_GATE),
            "trends": {**_list(_TREND), "description": "The decode speeds of each file since the run's folder was made."},
            "resolved": {"type": "object", "description": "The resolved recipe."},
            "notes": _list(_TEXT),
        },
    ),
}


def schema_text() -> str:
    """Return the text of `schemas/report.schema.json`."""
    return json.dumps(SCHEMA, ensure_ascii=False, indent=2) + "\n"
