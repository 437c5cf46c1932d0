"""The JSON Schema of `choice.json`: what an exporter writes that chose among quantisations."""

from __future__ import annotations

from pillm.records import JSONObject
from pillm.report.choicefile import FIGURES, FLAGS, MAX_NAME, MAX_TRIALS


def _record(properties: JSONObject, *, kind: str | list[str] = "object", **more: str) -> JSONObject:
    return {"type": kind, "required": list(properties), "properties": properties, **more}


_TEXT: JSONObject = {"type": "string"}
_COUNT: JSONObject = {"type": "integer", "minimum": 0}
_FLAG: JSONObject = {"type": "boolean"}
_NUMBER: JSONObject = {"type": "number"}
_MAYBE: JSONObject = {"type": ["number", "null"]}
_INTERVAL: JSONObject = {"mean": _NUMBER, "low": _NUMBER, "high": _NUMBER, "rows": _COUNT}
_SAID_OF_LOST = "The score's paired difference to the unquantised file, with its 95 % interval."
_TRIAL: JSONObject = {
    "name": {**_TEXT, "maxLength": MAX_NAME, "description": "The quantisation; -tuned, -fitted: its types were searched for."},
    "quant": {**_TEXT, "description": "llama.cpp's quantisation that it was made with."},
    "bytes": {**_COUNT, "minimum": 1},
    "ram": {**_COUNT, "description": "Bytes that it takes on the device."},
    **{figure: {**_MAYBE, "minimum": 0} for figure in FIGURES},
    "kld": {**_NUMBER, "minimum": 0, "description": "Mean divergence from the unquantised file, nats per token."},
    "score": {**_MAYBE, "description": "By `metric`; null: not asked, since another file beats it without that."},
    "scores": {
        "type": "object",
        "description": "Every metric with its 95 % interval.",
        "additionalProperties": _record(_INTERVAL),
    },
    "lost": _record(_INTERVAL, kind=["object", "null"], description=_SAID_OF_LOST),
    "cut": {**_COUNT, "description": "Answers that reached the limit of tokens; they are scored as they are."},
    **dict.fromkeys(FLAGS, _FLAG),
    "types": {"type": "object", "additionalProperties": _TEXT, "description": "As llama-quantize --tensor-type takes them."},
}
_RESTS_ON: JSONObject = {
    "compared": {**_COUNT, "description": "Conversations that divergences were measured on."},
    "answer_tokens": {**_COUNT, "description": "Of these conversations."},
    "scored": {**_COUNT, "description": "Rows that were asked."},
    "max_tokens": {**_COUNT, "description": "After which an answer was cut."},
    "seen": {**_FLAG, "description": "Whether these rows were trained on, for want of others."},
}
_DECISION: JSONObject = {
    "what": _TEXT, "used": _FLAG, "before": _NUMBER, "after": _NUMBER, "low": _MAYBE, "high": _MAYBE, "rows": _COUNT,
}  # fmt: skip
_CHOICE: JSONObject = {
    "version": {"const": 1},
    "device": _TEXT,
    "picked": {**_TEXT, "description": "The name of the trial that ships."},
    "reason": {**_TEXT, "description": "Why, in a sentence."},
    "metric": {"type": ["string", "null"], "description": "What the score is of."},
    "rests_on": _record(_RESTS_ON),
    "decisions": {
        "type": "array",
        "items": _record(_DECISION),
        "description": "What was settled first, by a paired difference over conversations.",
    },
    "trials": {"type": "array", "minItems": 1, "maxItems": MAX_TRIALS, "items": _record(_TRIAL)},
}


def choice_schema() -> JSONObject:
    """Return the schema of `choice.json`; a report needs no more of a trial than its name, bytes and divergence."""
    return _record(_CHOICE)
