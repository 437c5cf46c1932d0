"""`pillm data pairs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.testing import installed_plugin

if TYPE_CHECKING:
    from tests.conftest import Cli

MOODY = '''
import pillm
from pydantic import Field


class Moody(pillm.Teacher):
    """Says another thing each time."""

    name = "moody"
    says: tuple[str, ...] = Field(description="What it says, by sample number.")

    def answer(self, requests):
        for request in requests:
            yield request, pillm.Answer(self.says[request.sample % len(self.says)])


@pillm.hookimpl
def pillm_teachers():
    return [Moody]
'''
SAYS = '["[]", "{\\"n\\": 1}", "{\\"n\\":1}", "{\\"n\\": 2}"]'


@pytest.fixture
def folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Label one row that wants an object, with four samples: one refused, two that agree, one that does not."""
    rows, out = tmp_path / "rows.jsonl", tmp_path / "label"
    rows.write_text(json.dumps({"user": "n ?", "schema": {"type": "object"}}) + "\n", "utf-8")
    monkeypatch.setenv("PILLM_PLUGINS", "moody")
    with installed_plugin(tmp_path / "site", "moody", MOODY):
        done = cli("label", rows, "--teacher", "moody", "-o", f"says={SAYS}", "--samples", "4", "--out", out)
        assert done.code == 0, done.err
        yield out


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_an_accepted_sample_is_paired_with_a_refused_one(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli("data", "pairs", folder, "--out", tmp_path / "pairs.jsonl", "--per-prompt", "9")
    assert (done.code, done.out) == (0, f"1 pairs from 1 of 1 prompts in {tmp_path / 'pairs.jsonl'}\n")
    (row,) = lines(tmp_path / "pairs.jsonl")
    assert (row["chosen"], row["rejected"]) == (
        [{"role": "assistant", "content": '{"n": 1}'}], [{"role": "assistant", "content": "[]"}],
    )  # fmt: skip


def test_what_most_samples_say_is_better_than_what_few_say_where_that_is_asked_for(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    done = cli("data", "pairs", folder, "--out", out, "--by", "majority", "--per-prompt", "9", "--format", "alpaca", "--json")
    assert (done.json["pairs"], done.json["paired"]) == (2, 1)
    assert [(row["chosen"], row["rejected"]) for row in lines(out)] == [('{"n": 1}', "[]"), ('{"n": 1}', '{"n": 2}')]
    assert done.json["dataset_info"]["pairs"]["columns"]["chosen"] == "chosen"


def test_a_folder_that_does_not_say_who_answered_is_refused(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").unlink()
    done = cli("data", "pairs", folder, "--out", tmp_path / "pairs.jsonl")
    assert (done.code, "which teacher answered" in done.err) == (2, True)
    assert not (tmp_path / "pairs.jsonl").exists()
