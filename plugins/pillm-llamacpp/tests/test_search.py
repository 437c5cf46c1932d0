"""Files are tried, searched for and chosen by what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pillm_llamacpp.choosing.front import dominates
from pillm_llamacpp.choosing.limits import Limits
from pillm_llamacpp.choosing.search import FITTED, TUNED, Choice, Search, Wishes
from pillm_llamacpp.choosing.trials import Bench
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
