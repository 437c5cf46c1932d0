"""The files of a split: a folder with one for each side, and the contract that labelled rows were made under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pillm.artifacts import CONTRACT_FILE, sha256_file
from pillm.errors import ConfigError
from pillm.files import lock, named, storage_errors
from pillm.records import JSONObject, Prompt
from pillm.rows import prompt_to_row, read_lines, read_prompts, write_rows
from pillm.stages.labelling import contract_beside, teacher_beside
from pillm.stages.splitting import split
from pillm.store import Lineage, WorkFolder, stage_key


def split_file(rows: Path, out: Path, **asked: Any) -> dict[Path, int]:
    """Split a file of rows as `split` is asked to, write the sides that have rows into `out`, return each with its count.

    A row stays as it was written; its side is added, and its schema where only readers beside `rows` would find it by its
    name. The contract of labelled rows goes with them. An earlier split in `out` is replaced, whole. Raises ConfigError
    where `out` holds anything else, or the rows themselves.
    """
    out = named(out)
    if rows.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{out} holds the rows to split, {rows.name}; nothing was written. Choose another --out.")
    parted = _parted(rows, split(read_prompts(rows), **asked))
    contract = contract_beside(rows)
    key = stage_key("split", {"rows": sha256_file(rows), "contract": contract.hash if contract else None, **asked})
    with lock(out.with_name(f".{out.name}.lock")), WorkFolder(out, "split", key) as work, storage_errors(out):
        counts = {side: write_rows(work.path / f"{side}.jsonl", kept) for side, kept in parted.items()}
        if contract:
            contract.save(work.path / CONTRACT_FILE)
        results = {"asked": asked} | ({"origin": origin} if (origin := teacher_beside(rows)) else {})
        work.publish(Lineage(verb="split", key=key, seed=asked.get("seed"), counts=counts, results=results))
    return {out / f"{side}.jsonl": count for side, count in counts.items()}


def _parted(rows: Path, sides: Mapping[str, Sequence[Prompt]]) -> dict[str, list[JSONObject]]:
    prompts = {prompt.where: prompt for chosen in sides.values() for prompt in chosen}
    parted: dict[str, list[JSONObject]] = {side: [] for side, chosen in sides.items() if chosen}
    for where, row in read_lines(rows):
        prompt = prompts[where]
        parted[str(prompt.split)].append({**row, **_inlined(row, prompt), "split": prompt.split})
    return parted


def _inlined(row: Mapping[str, Any], prompt: Prompt) -> JSONObject:
    """Return the row's schema under the key that names it, as `label` writes it: by name where every reader finds that."""
    named_by = [key for key in ("schema", "tool_schema") if prompt.schema_name and row.get(key) == prompt.schema_name]
    return {key: prompt_to_row(prompt)["schema"] for key in named_by[:1]}
