"""What a search will take is told before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.choosing.candidates import quantisations
from pillm_llamacpp.choosing.forecast import SETTLING, Pace, forecast, foretold, moment_bytes
from pillm_llamacpp.choosing.losses import Matrix
from pillm_llamacpp.choosing.moments import gather
from pillm_llamacpp.choosing.search import Search, Wishes
from pillm_llamacpp.choosing.trials import Bench, Mix
from pillm_llamacpp_benching import QUIET, bench_of
from pillm_llamacpp_tiny import conversations

import pillm

HALF = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True,
}  # fmt: skip
"""Qwen2.5-0.5B's shape."""


@pytest.mark.full
def test_a_search_makes_no_more_files_and_no_more_bytes_than_were_told(
    exported: dict[str, pillm.ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(exported["F16"].path, tmp_path, weighed=True, rounded=True)
    sizes, make = [], Bench.make

    def watched(self: Bench, mix: Mix) -> Path:
        path = make(self, mix)
        sizes.append(sum(one.stat().st_size for one in self.folder.iterdir()))
        return path

    monkeypatch.setattr(Bench, "make", watched)
    with Search(bench, Wishes(probes=4)) as search:
        told = search.forecast()
        search.run()
    assert len(sizes) <= told.files
    assert max(sizes) <= told.most


def test_the_products_of_activations_take_what_was_reckoned(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    found = gather(exported["F16"].path, conversations()[:2], threads=1, folder=tmp_path, progress=QUIET)
    matrices = [Matrix(name=name, columns=256, weights=0) for name in found.files]
    real = sum(path.stat().st_size for path in set(found.files.values()))
    assert moment_bytes(matrices) == pytest.approx(real, rel=0.01)


@pytest.mark.full
def test_a_thrifty_search_keeps_one_file_at_a_time_and_finds_the_same(
    exported: dict[str, pillm.ModelFile], tmp_path: Path
) -> None:
    fast = Wishes(probes=0)
    with Search(bench_of(exported["F16"].path, tmp_path / "a"), fast) as search:
        first = search.run()
    bench = bench_of(exported["F16"].path, tmp_path / "b")
    with Search(bench, fast) as search:
        found = search.run(thrifty=True)
        assert not list(bench.folder.glob("*.gguf"))
        bench.keep(found.picked.name, tmp_path / "kept.gguf")
    assert found.picked.name == first.picked.name
    assert (tmp_path / "kept.gguf").stat().st_size == found.picked.bytes


def test_a_disk_that_cannot_hold_one_file_is_refused_and_one_that_holds_few_makes_thrifty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = forecast([], [1000, 500], 4000, 40, fitted=False)
    assert (told.files, told.least, told.most) == (44, 4000, 7000)
    for free, expected in ((8000, False), (5000, True)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert told.thrifty(tmp_path) is expected
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3000}))
    with pytest.raises(pillm.StorageError, match=r"needs 0\.0 MB in .*Nothing was tried yet and nothing is lost: free some"):
        told.thrifty(tmp_path)
    (tmp_path / "left.gguf").write_bytes(b"x" * 1500)
    assert told.thrifty(tmp_path), "what an interrupted search left is used or removed"


def test_the_time_is_told_from_the_first_file_and_once() -> None:
    notes: list[str] = []
    pace = Pace(60, pillm.Progress("export", (lambda event: notes.append(event.message),)))
    for seconds in (30.0, 900.0):
        pace(seconds)
    assert len(notes) == 1
    assert notes[0].startswith("the first file took 30.0 s, so the 60 at most that are to come take about 30 minutes")


def test_a_dry_run_knows_the_files_bytes_and_tokens_of_a_student_that_is_not_trained_yet() -> None:
    profile = pillm.device("pi4-4gb")
    told = foretold(HALF, profile, 32, (200, 24_000))
    assert told is not None
    tried = len(quantisations(profile, {896, 4864}))
    assert told.files > 32 + 2 * tried + SETTLING
    assert told.tokens == told.files * 100 * 120, "a hundred rows of the two hundred, with each file"
    assert 3e9 < told.disk_bytes < 15e9
    few = foretold(HALF, profile, 0, (200, 24_000), 10)
    assert few is not None
    assert (few.files, few.tokens) == (tried + SETTLING, few.files * 10 * 120)
    assert foretold({"hidden_size": 4}, profile, 32, (1, 1)) is None


def test_the_forecast_before_training_is_that_of_the_search(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    with Search(bench_of(exported["F16"].path, tmp_path), Wishes(probes=8)) as search:
        found = search.forecast()
    exporter = pillm.exporter("gguf", quants="auto", device=str(tmp_path / "few.yaml"), probes=8)
    told = exporter.forecast(checkpoint.config, 12, 1200)
    assert told is not None
    assert told.files in (found.files, found.files + 1), "a budget asks for one more"
    assert pillm.exporter("gguf").forecast(checkpoint.config, 12, 1200) is None
