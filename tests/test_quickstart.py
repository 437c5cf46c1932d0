"""The whole chain on real models: what `make quickstart` must show. Minutes long, so only `make test-full` runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs import llama_program, need

ROOT = Path(__file__).parent.parent
PILLM = Path(sys.executable).parent / "pillm"
QUANTS = ["F16", "Q8_0", "Q4_K_M", "IQ4_NL"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]


def pillm(*words: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `pillm WORDS` from the top of the repository, offline."""
    command = [str(PILLM), *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the quickstart once for all tests."""
    out = tmp_path_factory.mktemp("runs") / "quickstart"
    pillm("run", "examples/quickstart.yaml", "--out", out)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    """Read its report."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return found


def exact(report: dict[str, Any], kind: str, on: str = "test") -> list[float]:
    """Return the exact match of every subject of a kind on a set."""
    return [one["metrics"]["exact"]["mean"] for one in report["evaluations"] if (one["kind"], one["set"]) == (kind, on)]


def test_rows_balance_and_enough_are_held_out(report: dict[str, Any]) -> None:
    rows = report["rows"]
    assert rows["in"] == rows["answered"] + rows["rejected"] + rows["failed"] + rows["pending"]
    assert all(one["rows"] >= 600 for one in report["evaluations"] if one["set"] == "test")


def test_the_student_keeps_the_teachers_skill(report: dict[str, Any]) -> None:
    teacher, base, student = exact(report, "teacher")[0], exact(report, "base")[0], exact(report, "checkpoint")[0]
    assert teacher >= 0.80
    assert student >= 0.95 * teacher
    assert student >= base + 0.3


def test_every_file_ships_in_parity_and_near_f16(report: dict[str, Any]) -> None:
    assert [model["quant"] for model in report["models"]] == QUANTS
    assert report["parity"]["mismatches"] == 0
    scores = {one["quant"]: one["metrics"]["exact"]["mean"] for one in report["evaluations"]
              if one["kind"] == "model" and one["set"] == "test"}  # fmt: skip
    assert set(scores) == set(QUANTS)
    assert all(abs(score - scores["F16"]) <= 0.02 for score in scores.values()), scores


def test_handwritten_sentences_are_scored_apart(report: dict[str, Any]) -> None:
    assert len(exact(report, "model", "handwritten")) == len(QUANTS)


def test_the_report_says_what_the_student_would_do_on_the_board(report: dict[str, Any]) -> None:
    found = report["on_device"]
    assert (found["device"], found["basis"], found["fits"]) == ("pi4-2gb", "predicted", True)
    assert found["answer_seconds"] > found["first_token_seconds"] > 0
    if found["emulated"] is None:
        assert re.search("apt install|pillm-llamacpp build", found["not_emulated"])
    else:
        assert found["emulated"]["same"], found["emulated"]


def test_the_board_answers_ten_rows_in_the_same_words(folder: Path, tmp_path: Path) -> None:
    need("qemu-aarch64-static")
    llama_program("llama-completion", "pi4")
    rows = (ROOT / "dataset" / "assistant" / "handwritten.jsonl").read_text("utf-8").splitlines()[:10]
    (tmp_path / "ten.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    (file,) = (folder / "export").glob("*Q8_0.gguf")
    said = {}
    for runner in ("local", "pi4-emulated"):
        words = ["evaluate", tmp_path / "ten.jsonl", "--subject", file, "--runner", runner, "--out", tmp_path / runner]
        pillm(*words)
        predictions = (tmp_path / runner).rglob("predictions.jsonl")
        said[runner] = [json.loads(line)["answer"] for path in predictions for line in path.read_text().splitlines()]
    assert len(said["local"]) == 10
    assert said["pi4-emulated"] == said["local"]


def test_a_second_run_finds_every_stage_up_to_date(folder: Path) -> None:
    again = pillm("run", "examples/quickstart.yaml", "--out", folder)
    for stage in ("label", "train", "export"):
        assert f"{stage}: up to date" in again.stderr
    assert "done in" not in again.stderr


def test_tuning_the_teacher_asks_nothing_again(folder: Path) -> None:
    tuned = pillm("run", "examples/quickstart.yaml", "--out", folder, "--set", "teacher.batch_size=3")
    assert "label: up to date" in tuned.stderr
    assert "train: up to date" in tuned.stderr


def test_the_result_can_be_talked_to_and_compared(folder: Path) -> None:
    files = sorted((folder / "export").glob("*.gguf"))
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [str(PILLM), "chat", str(next(file for file in files if "Q8_0" in file.name))], input="turn on the kitchen light\n",
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["name"] == "HassTurnOn"
    rows = ROOT / "dataset" / "assistant" / "handwritten.jsonl"
    compared = pillm("evaluate", rows, "--subject", files[0], "--subject", files[1], "--limit", "20", "--json")
    assert len(json.loads(compared.stdout)["evaluations"]) == 2


def test_one_changed_byte_is_found(folder: Path) -> None:
    pillm("verify", folder)
    file = next((folder / "export").glob("*Q8_0.gguf"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert file.name in pillm("verify", folder, expect=1).stdout
