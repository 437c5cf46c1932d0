"""Train the same rows with pillm and with TRL, in fresh processes, and hold their losses against each other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.fitting import settings, student
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.peers import folder, python_of, version_of

ROOT = Path(__file__).parents[3]
SAME = 1e-3  # relative, on the same rows: of the untrained student's loss, and of the mean over the steps after it
ALIKE = 2e-2  # relative, of the mean over all steps: in another order, the same rows are learnt in other steps
PEERS = {
    "defaults": "TRL SFTTrainer, its defaults (activations checkpointed, rows padded in random order)",
    "tuned": "TRL SFTTrainer, tuned (nothing checkpointed, padding-free), in the same number format",
}


class Fitting:
    """One student and its rows; every run is a process of its own."""

    def __init__(self, layers: int, rows: int, place: Path) -> None:
        self.layers, self.rows = layers, rows
        self._model = student.model_folder(layers, folder().parent / "students")
        self._short, self._few, self._timed = (place / f"{name}.jsonl" for name in ("short", "few", "rows"))
        student.write_short_rows(self._short, settings.CHECKED_ROWS)
        student.write_rows(self._few, settings.BATCH, seed=8)
        self.tokens = student.write_rows(self._timed, rows, seed=7)
        self.runs: dict[str, list[dict[str, Any]]] = {"pillm": [], **{name: [] for name in PEERS}}

    def speed(self, name: str) -> Callable[[], float]:
        """Return what trains once and gives tokens per second, padding not counted."""
        return lambda: self.tokens / self._run(name)["timed"]["times"][-1]

    def memory(self, name: str) -> Callable[[], float]:
        """Return what trains once and gives the peak of memory in MiB above the loaded model."""
        return lambda: float(self._run(name)["timed"]["peak_mib"])

    def details(self) -> dict[str, Any]:
        """Return what else was seen: mean losses, peaks, and the padding of batches in random order."""
        seen = {
            name: {
                "mean_loss": round(statistics.fmean(runs[-1]["timed"]["losses"]), 4),
                "peak_mib": round(statistics.median(run["timed"]["peak_mib"] for run in runs[1:])),
            }
            for name, runs in self.runs.items()
            if runs
        }
        answered, padding = self._shares()
        shares = {"answer_share": round(answered, 3), "padding_in_random_order": round(padding, 2)}
        return {"rows": self.rows, "tokens": self.tokens, **shares, "threads": settings.THREADS, **seen}

    def limit(self, how: str) -> str:
        """Return the ratio of multiplications: what speed alone could give if both ran at the machine's."""
        answered, padding = self._shares()
        layer = 2 * (2 * student.HIDDEN + 2 * student.KV_HEADS * student.HIDDEN // student.HEADS + 3 * student.INTERMEDIATE)
        layers, head = self.layers * layer * student.HIDDEN, 2 * student.HIDDEN * student.VOCABULARY
        ours = 2 * layers + 2 * answered * head
        theirs = 2 * layers + 3 * head if how == "tuned" else (3 * layers + 3 * head) * padding
        padded = f", {padding:.2f} tokens for each real one in batches of random order" if how == "defaults" else ""
        return (
            f"multiplications: TRL does {theirs / ours:.2f} times as many per token ({answered:.0%} of the tokens are "
            f"answers, and it scores all of them, three times over{padded}); beyond that, number formats and memory traffic"
        )

    def _shares(self) -> tuple[float, float]:
        """Return the share of learnt tokens, and how many tokens a batch of random rows has for each real one."""
        lengths = [student.lengths(messages) for messages in student.read_messages(self._timed)]
        size = settings.BATCH
        padded = sum(size * max(whole for whole, _ in lengths[at : at + size]) for at in range(0, len(lengths), size))
        return sum(learnt for _, learnt in lengths) / self.tokens, padded / self.tokens

    def _run(self, name: str) -> dict[str, Any]:
        """Train in a process of its own and check its losses; the first round, which only warms up, takes few rows."""
        rows = self._timed if self.runs[name] else self._few
        found = _measured(name, self._model, self._short, rows)
        if rows is self._timed and found["timed"].get("tokens", self.tokens) != self.tokens:
            raise AssertionError(f"{name} trained on {found['timed']['tokens']} tokens, not on {self.tokens}")
        self.runs[name].append(found)
        self._compare()
        return found

    def _compare(self) -> None:
        """Raise where two sides did not find the same losses."""
        for name in PEERS:
            if len(self.runs[name]) != len(self.runs["pillm"]):
                continue
            ours, theirs = self.runs["pillm"][-1], self.runs[name][-1]
            checks = [side["check"]["losses"] for side in (ours, theirs)]
            means = [statistics.fmean(side["timed"]["losses"]) for side in (ours, theirs)]
            first, all_steps = _apart(*(losses[0] for losses in checks)), _apart(*map(statistics.fmean, checks))
            if max(first, all_steps) > SAME or _apart(*means) > ALIKE:
                raise AssertionError(f"pillm and TRL {name} differ in their losses: {checks}, mean while timed {means}")


def _apart(one: float, other: float) -> float:
    return abs(one / other - 1)


@contextmanager
def fitting(layers: int, rows: int) -> Iterator[Fitting]:
    """Give a student and its rows."""
    with tempfile.TemporaryDirectory() as place:
        yield Fitting(layers, rows, Path(place))


def speeds(name: str, layers: int, rows: int, times: int, goals: dict[str, float]) -> Iterator[Result]:
    """Train in turns and yield the figures against each peer."""
    with fitting(layers, rows) as subject:
        rates = alternating({side: subject.speed(side) for side in ("pillm", *goals)}, times)
        for how, goal in goals.items():
            yield Result(
                benchmark=f"{name}-{how}",
                pillm=round(rates["pillm"], 1),
                peer=round(rates[how], 1),
                unit="tokens/s",
                goal=goal,
                better="higher",
                peer_is=PEERS[how],
                limit=subject.limit(how),
                versions=peer_versions(),
                details=subject.details(),
            )


def peer_versions() -> dict[str, str]:
    """Return what the figures depend on besides pillm."""
    found: dict[str, str] = {}
    for name in ("trl", "torch", "transformers", "peft"):
        found |= version_of("trl", name)
    return found


def _measured(name: str, *paths: Path) -> dict[str, Any]:
    """Train in a fresh process and return what it measured."""
    python, module = (sys.executable, "pillm_run") if name == "pillm" else (str(python_of("trl")), "trl_run")
    words = [python, "-m", f"tests.benchmarks.fitting.{module}", *map(str, paths), *([] if name == "pillm" else [name])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.THREADS), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
