"""`pillm embed`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.testing import installed_plugin

if TYPE_CHECKING:
    from tests.conftest import Cli

PLUGIN = """
import pillm
from pillm.testing.fakes import TableRunner

class Counting(pillm.Session):
    def answer(self, requests):
        raise AssertionError("asked")

    def embed(self, texts):
        for text in texts:
            if len(text) > 20:
                raise pillm.DataError("a text is too long. Shorten it.")
            yield float(len(text)), 1.0

class CountingRunner(TableRunner):
    \"\"\"Embeds by counting letters.\"\"\"
    name = "counting"
    capabilities = frozenset({"embed"})

    def open(self, model):
        return Counting()

@pillm.hookimpl
def pillm_runners():
    return [CountingRunner]
"""


@pytest.fixture
def words(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Give the beginning of the command line, with a model and a runner that embeds."""
    model = tmp_path / "student.table"
    model.write_text("{}", "utf-8")
    monkeypatch.setenv("PILLM_PLUGINS", "fakes,counting")
    with installed_plugin(tmp_path / "site", "counting", PLUGIN):
        yield ["embed", model, "--runner", "counting"]


def rows(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def test_a_file_of_vectors_is_written_whole(cli: Cli, words: list[object], tmp_path: Path) -> None:
    texts = rows(tmp_path, '{"id": "a", "text": "one"}', '{"text": "three"}', '{"id": 7, "text": "x"}')
    done = cli(*words[:2], texts, *words[2:], "--out", tmp_path / "vectors.jsonl", "--json")
    assert done.code == 0
    assert (done.json["rows"], done.json["width"]) == (3, 2)
    found = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text("utf-8").splitlines()]
    assert found == [{"id": "a", "vector": [3.0, 1.0]}, {"id": "2", "vector": [5.0, 1.0]}, {"id": 7, "vector": [1.0, 1.0]}]


def test_the_standard_input_is_read_and_vectors_are_printed(
    cli: Cli, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one"}\n')))
    done = cli(*words[:2], "-", *words[2:])
    assert done.code == 0
    assert json.loads(done.out) == {"id": "1", "vector": [3.0, 1.0]}


@pytest.mark.parametrize("line", ['{"id": "a"}', '{"text": ""}', '{"text": 3}', '{"text": "a", "id": [1]}'])
def test_a_row_without_text_is_refused_by_its_place_and_no_file_is_left(
    cli: Cli, words: list[object], tmp_path: Path, line: str
) -> None:
    texts = rows(tmp_path, '{"text": "one"}', line)
    done = cli(*words[:2], texts, *words[2:], "--out", tmp_path / "vectors.jsonl")
    assert done.code == 2
    assert "texts.jsonl:2" in done.err
    assert not (tmp_path / "vectors.jsonl").exists()


def test_a_text_that_is_not_taken_is_told_by_place_and_id_and_what_came_before_is_printed(
    cli: Cli, words: list[object], tmp_path: Path
) -> None:
    texts = rows(tmp_path, '{"text": "one"}', '{"id": "b", "text": "much too long for anybody"}')
    done = cli(*words[:2], texts, *words[2:])
    assert done.code == 2
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["1"]
    assert "text 'b' (texts.jsonl:2): a text is too long. Shorten it." in done.err


@pytest.mark.parametrize("line", ['{"id": "a", "text": "two"}', '{"id": "1", "text": "two"}'])
def test_an_id_that_repeats_is_refused_with_both_places(cli: Cli, words: list[object], tmp_path: Path, line: str) -> None:
    texts = rows(tmp_path, '{"text": "one"}', '{"id": "a", "text": "one"}', '{"id": 1, "text": "one"}', line)
    done = cli(*words[:2], texts, *words[2:])
    assert done.code == 2
    assert "texts.jsonl:4: the id" in done.err
    assert f"texts.jsonl:{2 if 'a' in line else 1} too" in done.err.replace("\n", "")


def test_a_runner_that_does_not_embed_is_refused(cli: Cli, words: list[object], tmp_path: Path) -> None:
    done = cli(*words[:2], rows(tmp_path, '{"text": "one"}'), "--runner", "table")
    assert done.code == 2
    assert "does not embed" in done.err
