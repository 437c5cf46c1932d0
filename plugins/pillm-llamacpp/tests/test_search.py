"""Files are tried, searched for and chosen by what was measured."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pillm_llamacpp.choosing.front import dominates
from pillm_llamacpp.choosing.ledger import Ledger
from pillm_llamacpp.choosing.limits import Limits
from pillm_llamacpp.choosing.search import FITTED, TUNED, Choice, Search, Wishes
from pillm_llamacpp.choosing.trials import Bench, Mix
from pillm_llamacpp_benching import FEW, bench_of

import pillm


@pytest.fixture(scope="module")
def bench(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(exported["F16"].path, tmp_path_factory.mktemp("bench"), rounded=True)


@pytest.fixture(scope="module")
def choice(bench: Bench) -> Choice:
    with Search(bench, Wishes(probes=8)) as search:
        return search.run()


@pytest.mark.full
def test_every_searched_file_loses_less_than_llamas_mix_of_its_size(choice: Choice) -> None:
    plain = {trial.name: trial for trial in choice.trials}
    tuned = [trial for trial in choice.trials if trial.name.endswith(TUNED)]
    assert tuned, "nothing was found that is better than llama.cpp's mixes"
    for trial in tuned:
        peer = plain[trial.quant]
        assert trial.kld < peer.kld
        assert 0.99 * peer.bytes <= trial.bytes <= peer.bytes
        assert trial.rounded
        assert trial.types


@pytest.mark.full
def test_the_front_is_what_nothing_beats_and_the_pick_is_on_it(choice: Choice, bench: Bench) -> None:
    assert choice.picked in choice.front
    assert choice.picked.name in choice.reason
    assert not [(a, b) for a in choice.trials for b in choice.front if dominates(a, b)]
    for trial in choice.front:
        assert trial.name == "F16" or bench.made[trial.name].stat().st_size == trial.bytes
    beaten = {trial.name for trial in choice.trials} - {trial.name for trial in choice.front} - set(bench.made)
    assert all(not (bench.folder / f"{name}.gguf").exists() for name in beaten)


@pytest.mark.full
def test_a_budget_is_used_up_and_kept_to(exported: dict[str, pillm.ModelFile], choice: Choice, tmp_path: Path) -> None:
    sizes = sorted(trial.bytes for trial in choice.trials if not trial.types and trial.name != "F16")
    budget = (sizes[len(sizes) // 2] + sizes[len(sizes) // 2 + 1]) // 2
    limits = Limits(max_bytes=budget)
    with Search(bench_of(exported["F16"].path, tmp_path), Wishes(limits=limits, probes=4)) as search:
        found = search.run()
    fitted = [trial for trial in found.trials if trial.name.endswith(FITTED)]
    assert len(fitted) == 1
    assert 0.97 * budget <= fitted[0].bytes <= budget
    assert found.picked.bytes <= budget
    assert {trial.name for trial in found.trials if trial.bytes > budget} == {"F16"}, "what is too large is not even made"


def test_a_budget_that_nothing_can_keep_to_is_refused_before_a_file_is_made(bench: Bench) -> None:
    before = set(bench.made)
    for probes in (0, 4):
        with (
            Search(bench, Wishes(limits=Limits(max_bytes=1000), probes=probes)) as search,
            pytest.raises(pillm.GateError, match=r"no quantisation for .* keeps to the limits, .*allowed 1,000"),
        ):
            search.run()
    assert set(bench.made) == before, "arithmetic is enough: no file was made"


def test_without_probes_only_llamas_mixes_are_tried(bench: Bench) -> None:
    fast = {"quality": 0.0, "speed": 1.0, "size": 0.0}
    with Search(bench, Wishes(probes=0, weights=fast)) as search:
        found = search.run()
    assert {trial.name for trial in found.trials} == {"F16", *FEW}
    assert found.picked.tg_tps == max(trial.tg_tps or 0 for trial in found.trials)


def test_a_device_that_suits_nothing_is_refused(bench: Bench, tmp_path: Path) -> None:
    profile = tmp_path / "odd.yaml"
    text = Path(bench.device).read_text().replace("[", f"[{', '.join(FEW)}, ")
    profile.write_text(text)
    other = replace(bench, device=str(profile))
    with pytest.raises(pillm.ConfigError, match="no quantisation suits both"):
        Search(other, Wishes())


_KILLED = """
import os, pickle, sys
from pathlib import Path
from pillm_llamacpp.choosing.ledger import Ledger
from pillm_llamacpp.choosing.search import Search, Wishes
from pillm_llamacpp.measuring.divergence import Reference
bench, log, left = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), [int(sys.argv[3])]
compare = Reference.compare
def counted(self, model, **more):
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    with log.open("a") as file:
        file.write(model.stem + "\\n")
    return compare(self, model, **more)
Reference.compare = counted
bench.ledger = Ledger(log.with_suffix(".ledger"), "state")
with Search(bench, Wishes(probes=0)) as search:
    choice = search.run()
log.with_suffix(".choice").write_bytes(pickle.dumps(choice))
"""


@pytest.mark.full
def test_a_search_that_is_killed_goes_on_and_measures_nothing_twice(
    exported: dict[str, pillm.ModelFile], tmp_path: Path
) -> None:
    bench, log = bench_of(exported["F16"].path, tmp_path), tmp_path / "log"
    pickled = tmp_path / "bench.pickle"
    pickled.write_bytes(pickle.dumps(bench))
    for kill_after, code in ((2, -9), (-1, 0)):
        words = [sys.executable, "-c", _KILLED, str(pickled), str(log), str(kill_after)]
        done = subprocess.run(words, capture_output=True, check=False, text=True)
        assert done.returncode == code, done.stderr
    assert log.read_text().split() == list(FEW), "each once, though the search was killed before the third"
    found = pickle.loads((tmp_path / "log.choice").read_bytes())
    bench.ledger = Ledger(tmp_path / "log.ledger", "state")
    with Search(bench, Wishes(probes=0)) as search:
        assert search.run() == found
    assert log.read_text().split() == list(FEW)


def test_a_file_that_changed_since_it_was_measured_is_made_again_to_ship(
    exported: dict[str, pillm.ModelFile], tmp_path: Path
) -> None:
    first = bench_of(exported["F16"].path, tmp_path)
    mix = Mix(name="Q8_0", quant="Q8_0")
    trial = first.tried(mix)
    path = first.made["Q8_0"]
    whole = path.read_bytes()
    again = replace(first, made={}, mixes={}, found={})
    assert again.tried(mix) == trial
    assert again.made == {"Q8_0": path}
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    other = replace(first, made={}, mixes={}, found={})
    assert other.tried(mix) == trial
    assert other.made == {}
    other.keep("Q8_0", tmp_path / "kept.gguf")
    assert (tmp_path / "kept.gguf").read_bytes() == whole
