"""Files are compared with the unquantised one on conversations, and the figures say how far they are."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from pillm_llamacpp.measuring.divergence import Compared, Divergence, Reference, summarise
from pillm_llamacpp.quantizing.quantization import quantize
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_tiny import conversations

import pillm

TEXTS = conversations()
QUIET = pillm.Progress()


@pytest.fixture(scope="module")
def reference(exported: dict[str, pillm.ModelFile], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference.of(exported["F16"].path, TEXTS, threads=1, folder=tmp_path_factory.mktemp("reference"), progress=QUIET)


def test_a_file_does_not_diverge_from_itself(reference: Reference, exported: dict[str, pillm.ModelFile]) -> None:
    found = reference.against(exported["F16"].path, threads=1, progress=QUIET)
    assert found.largest < 1e-6
    assert found.top1 == 1


def test_fewer_bits_diverge_more(reference: Reference, exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    quantize(exported["F16"].path, tmp_path / "Q2_K.gguf", "Q2_K", threads=1, progress=QUIET)
    paths = [exported["Q8_0"].path, exported["Q4_K_M"].path, tmp_path / "Q2_K.gguf"]
    found = [reference.against(path, threads=1, progress=QUIET) for path in paths]
    means = [one.mean for one in found]
    assert means == sorted(means)
    assert means[0] < 0.2 * means[1] < means[2]
    for one in found:
        assert 0 < one.low < one.mean < one.high < one.largest
        assert one.mean < one.p99 <= one.largest
        assert one.positions == found[0].positions > 500
    assert found[0].top1 > found[2].top1


def test_where_the_answers_are_known_only_they_count(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    answers = [(5, 9), None, (40, 10_000), (0, 3)]
    reference = Reference.of(
        exported["F16"].path, TEXTS[:4], threads=1, folder=tmp_path, progress=QUIET, answers=answers, context=64
    )
    facts = json.loads((tmp_path / "reference.json").read_text())
    lengths = [len(ids) for ids in facts["ids"]]
    # a token is predicted at the one before it; the first of all is predicted nowhere
    assert facts["spans"] == [[4, 8], [0, lengths[1] - 1], [39, lengths[2] - 1], [0, 2]]
    found = reference.against(exported["Q8_0"].path, threads=1, progress=QUIET)
    assert found.positions == sum(end - begin for begin, end in facts["spans"])


def test_answers_beyond_the_context_leave_the_whole_texts(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    Reference.of(
        exported["F16"].path, TEXTS[:2], threads=1, folder=tmp_path, progress=QUIET, answers=[(50, 60)] * 2, context=16
    )
    assert json.loads((tmp_path / "reference.json").read_text())["spans"] == [[0, 15], [0, 15]]


def test_another_vocabulary_cannot_be_compared(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    reference = Reference.of(exported["F16"].path, TEXTS[:2], threads=1, folder=tmp_path, progress=QUIET)
    facts = json.loads((tmp_path / "reference.json").read_text())
    (tmp_path / "reference.json").write_text(json.dumps({**facts, "vocabulary": facts["vocabulary"] + 1}))
    with pytest.raises(pillm.DataError, match=r"divergence of tiny-Q8_0\.gguf: it has \d+ tokens"):
        reference.against(exported["Q8_0"].path, threads=1, progress=QUIET)


def test_texts_that_predict_nothing_are_refused(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match="compared on texts"):
        Reference.of(exported["F16"].path, [], threads=1, folder=tmp_path, progress=QUIET)
    with pytest.raises(pillm.DataError, match="no text has two tokens"):
        Reference.of(exported["F16"].path, ["<|im_end|>"], threads=1, folder=tmp_path, progress=QUIET)


def test_a_folder_that_cannot_be_written_is_named(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    with pytest.raises(pillm.StorageError, match="nowhere could not be written"):
        Reference.of(exported["F16"].path, TEXTS[:2], threads=1, folder=tmp_path / "nowhere", progress=QUIET)


def test_a_worker_that_dies_is_a_message(
    reference: Reference, exported: dict[str, pillm.ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = Worker.receive

    def killing(self: Worker) -> dict[str, object]:
        os.kill(self.pid, signal.SIGABRT)
        return receive(self)

    monkeypatch.setattr(Worker, "receive", killing)
    with pytest.raises(pillm.BackendError, match=r"divergence of tiny-Q8_0\.gguf: llama\.cpp aborted"):
        reference.against(exported["Q8_0"].path, threads=1, progress=QUIET)


def test_the_interval_is_over_conversations_and_not_over_neighbouring_tokens() -> None:
    random = np.random.default_rng(5)
    levels = random.exponential(1.0, 40)
    values = np.repeat(levels, 50)
    clustered = summarise(values.tolist(), [True] * 2000, [50] * 40)
    scattered = summarise(random.permutation(values).tolist(), [True] * 2000, [50] * 40)
    assert clustered.mean == pytest.approx(scattered.mean)
    assert clustered.high - clustered.low > 3 * (scattered.high - scattered.low)
    expected = 1.96 * levels.std() / np.sqrt(40)
    assert clustered.high - clustered.mean == pytest.approx(expected, rel=0.25)


def test_one_conversation_is_judged_by_its_positions() -> None:
    found = summarise([0.0, 1.0] * 50, [True, False] * 50, [0, 100])
    assert found == Divergence(
        mean=0.5, low=pytest.approx(0.4, abs=0.02), high=pytest.approx(0.6, abs=0.02), p99=1.0, largest=1.0, top1=0.5,
        positions=100,
    )  # fmt: skip


def test_each_conversation_has_its_part_in_the_mean(reference: Reference, exported: dict[str, pillm.ModelFile]) -> None:
    q8, q4 = (reference.compare(exported[quant].path, threads=1, progress=QUIET) for quant in ("Q8_0", "Q4_K_M"))
    for found in (q8, q4):
        assert np.mean(found.rows) == pytest.approx(found.divergence.mean)
    assert q4.better(q8)
    assert not q8.better(q4)
    assert not q8.better(q8)
    assert "beyond chance" in q4.told(q8)
    change = q4.change(q8)
    assert change is not None
    assert change.mean == pytest.approx(q8.divergence.mean - q4.divergence.mean)


def test_a_few_conversations_decide_nothing() -> None:
    whole = Divergence(mean=0.5, low=0, high=1, p99=1, largest=1, top1=1, positions=9)
    assert not Compared(whole, (0.5,) * 5).better(Compared(whole, (0.1,) * 5))
    assert Compared(whole, (0.5,) * 6).better(Compared(whole, (0.1,) * 6))
