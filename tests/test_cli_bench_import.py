"""`pillm bench import`: records from elsewhere go into the history once, all of them or none."""

from __future__ import annotations

import json
from pathlib import Path

from pillm.artifacts import to_json
from pillm.performance.benchmark import Benchmark
from pillm.performance.history import History
from tests.conftest import Cli


def record(path: Path, speed: float) -> Path:
    one = Benchmark(model="m.gguf", device="Raspberry Pi 4", basis="measured", pp_tps=speed, tg_tps=speed / 2)
    path.write_text(json.dumps(to_json(one)))
    return path


def test_records_are_put_into_the_history_once_and_compared(cli: Cli, tmp_path: Path) -> None:
    kept = tmp_path / "history.jsonl"
    files = [record(tmp_path / f"{speed}.json", speed) for speed in (10.0, 20.0)]
    for _ in range(2):
        done = cli("bench", "import", *files, "--history", kept, "--json")
        assert done.json["numbers"] == {str(files[0]): 1, str(files[1]): 2}
    assert [one.record.pp_tps for one in History(kept).read().measured()] == [10.0, 20.0]
    assert "100.0% faster" in cli("bench", "compare", "1", "2", "--history", kept).out


def test_a_file_that_is_no_record_is_refused_and_none_is_put_in(cli: Cli, tmp_path: Path) -> None:
    kept, good = tmp_path / "history.jsonl", record(tmp_path / "good.json", 10.0)
    (tmp_path / "bad.json").write_text("{}")
    done = cli("bench", "import", good, tmp_path / "bad.json", "--history", kept)
    assert done.code == 2
    assert "bad.json is not a benchmark record" in done.err
    assert not kept.exists()


def test_a_record_whose_figures_are_not_finite_is_refused_and_none_is_put_in(cli: Cli, tmp_path: Path) -> None:
    kept, good = tmp_path / "history.jsonl", record(tmp_path / "good.json", 10.0)
    for number in ("Infinity", "NaN", "1e400"):
        (tmp_path / "bad.json").write_text(good.read_text().replace('"pp_tps": 10.0', f'"pp_tps": {number}'))
        done = cli("bench", "import", good, tmp_path / "bad.json", "--history", kept)
        assert done.code == 2
        assert "bad.json is not a benchmark record" in done.err
    assert not kept.exists()
