"""Everything that a user can meet is documented, and what is generated is current."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pillm import errors, hookspecs
from pillm.cli.program import SUMMARIES
from pillm.kinds import KINDS
from tests.benchmarks.planning.rows import MODELS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("rpi4/*.md")])


def reference(name: str) -> str:
    """Return a page of the reference."""
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


def test_the_generated_pages_and_schemas_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reference", "--check"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, f"write them anew (make reference):\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith("pillm_")])
def test_every_hook_is_documented(hook: str) -> None:
    assert f"## `{hook}`" in reference("hooks")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_backend_is_documented(kind: str) -> None:
    assert f"### {kind}: `pillm." in reference("hooks")
    assert kind in (DOCS / "how-to" / "write-a-plugin.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name", [name for name, kind in vars(errors).items() if isinstance(kind, type) and hasattr(kind, "exit_code")]
)
def test_every_error_is_documented_with_its_exit_code(name: str) -> None:
    assert f"| `{name}` | {getattr(errors, name).exit_code} |" in reference("errors")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 130])
def test_every_exit_code_is_documented(code: int) -> None:
    assert f"| {code} |" in reference("errors")


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_is_documented(name: str) -> None:
    assert f"## pillm {name}\n" in reference("cli")


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_is_in_the_tables_of_the_index(name: str) -> None:
    assert f"\n| `pillm {name}` | " in (DOCS / "index.md").read_text("utf-8")


@pytest.mark.parametrize("page", [ROOT / "README.md", *ROOT.glob("plugins/*/README.md"), *DOCS.rglob("*.md")], ids=str)
def test_a_plugin_is_installed_from_its_folder_since_no_index_lists_it(page: Path) -> None:
    for words in re.findall(r"pip install ([^`\n]*)", page.read_text("utf-8")):
        assert not re.search(r"(?<![/\w-])pillm(-\w+)?(?!\S*=)", words.partition("#")[0]), f"{page.name}: pip install {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_can_be_reached_from_the_index_or_the_readme(page: Path) -> None:
    if page.parent == ROOT or not page.is_relative_to(DOCS):
        return
    name = page.relative_to(DOCS).as_posix()
    assert name == "index.md" or f"]({name})" in (DOCS / "index.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_exists(page: Path) -> None:
    for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for verb in re.findall(r"^(?:\$ )?(?:\.venv/bin/)?pillm (?:--\S+ \S+ )?([a-z]+)", block, re.MULTILINE):
            assert verb in SUMMARIES, f"{page.name}: pillm {verb}"


def test_the_readme_has_a_line_for_every_folder() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for folder in ("pillm", "plugins", "examples", "schemas", "dataset", "rpi4", "docs", "tests"):
        assert f"| `{folder}/` |" in text


def test_the_page_on_deploying_tells_what_the_committed_results_say() -> None:
    lines = [json.loads(line) for line in (ROOT / "tests" / "benchmarks" / "results.jsonl").read_text("utf-8").splitlines()]
    found = {line["benchmark"]: line["details"] for line in lines if line["benchmark"].startswith("deploy-")}
    kill, cut = found["deploy-kill"], found["deploy-cut"]
    page = (DOCS / "how-to" / "deploy.md").read_text("utf-8")
    assert f"Measured on {max(kill['day'], cut['day'])}" in page
    assert f"at {kill['broken']} places, and its connection cut at {cut['broken']}" in page
    assert f"Of {kill['asked'] + cut['asked']:,} questions" in page
    assert f"slowest answer took {max(kill['slowest_ms'], cut['slowest_ms']):.0f} ms" in page


def test_the_page_on_planning_tells_how_far_a_calibration_erred() -> None:
    lines = [json.loads(line) for line in (ROOT / "tests" / "benchmarks" / "results.jsonl").read_text("utf-8").splitlines()]
    found = {line["benchmark"].rpartition("-")[2]: line for line in lines if line["benchmark"].startswith("plan-calibrated-")}
    page = " ".join((DOCS / "how-to" / "plan-for-a-device.md").read_text("utf-8").split())
    assert f"On {found['decode']['details']['day']}" in page
    assert f"at most {found['decode']['pillm']:.0%} off in decode".replace("%", " %") in page
    assert f"and {found['prefill']['pillm']:.0%} in prefill".replace("%", " %") in page
    assert all(line["met"] for line in found.values()) or "were missed" in page


def test_the_card_on_the_page_on_planning_is_what_the_command_prints(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "plan-for-a-device.md").read_text("utf-8")
    command, _, card = page.partition("```console\n$ pillm ")[2].partition("```")[0].partition("\n")
    (tmp_path / "qwen2.5-0.5b").mkdir()
    (tmp_path / "qwen2.5-0.5b" / "config.json").write_text(json.dumps(MODELS["Qwen2.5-0.5B"]))
    done = subprocess.run(
        [sys.executable, "-m", "pillm", *command.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(card.rstrip()), done.stdout


def test_what_the_page_on_planning_offers_are_options_that_there_are() -> None:
    page = (DOCS / "how-to" / "plan-for-a-device.md").read_text("utf-8")
    options = reference("backends")
    for name in ("quants", "context", "trim_vocabulary", "vocabulary_size", "base", "prefix", "parallel"):
        assert f"`{name}" in page or f"{name}=" in page
        assert f"| `{name}` |" in options, name
    for flag in set(re.findall(r"`(--[a-z-]+)", page)) - {"--no-repack"}:
        assert f"  {flag}" in reference("cli"), flag
