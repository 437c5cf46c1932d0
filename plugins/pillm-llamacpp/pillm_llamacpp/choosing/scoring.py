"""The task's own score of a file: how many validation rows it answers exactly as they were labelled."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.runner import LocalRunner

MOST_ROWS = 200
MOST_TOKENS = 512


def scored_rows(probes: Iterable[pillm.Probe], texts: Collection[str]) -> list[pillm.Prompt]:
    """Return the conversations among `texts` that end with an answer, as rows whose reference it is; at most 200.

    The rows that a training was validated on, and no others: what is held out for the report stays unseen.
    """
    wanted, rows = set(texts), []
    for probe in probes:
        if probe.text in wanted and len(probe.messages) > 1 and probe.messages[-1].get("role") == "assistant":
            rows.append(_row(probe))
            wanted.discard(probe.text)
            if len(rows) == MOST_ROWS:
                break
    return rows


def _row(probe: pillm.Probe) -> pillm.Prompt:
    answer = probe.messages[-1]
    # an answer that is JSON is compared as a value: spaces and the order of keys say nothing
    schema: dict[str, Any] | None = {} if _is_json(str(answer.get("content") or "")) else None
    return pillm.Prompt(
        id=probe.id, messages=probe.messages[:-1], tools=probe.tools, schema=schema, reference=pillm.Reference(message=answer)
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def score(file: Path, rows: list[pillm.Prompt], *, threads: int | None) -> float:
    """Return the share of rows that a file answers exactly, greedily; a row whose answer is cut is wrong."""
    longest = max(len(row.reference.content) if row.reference else 0 for row in rows)
    runner = LocalRunner(threads=threads, max_tokens=min(longest + 64, MOST_TOKENS))  # a token has a character at least
    model = pillm.ModelFile(path=file, quant="", bytes=file.stat().st_size, sha256="")
    with runner.open(model) as session:
        return pillm.evaluate(rows, session, [pillm.metric("exact")]).metrics["exact"].mean
