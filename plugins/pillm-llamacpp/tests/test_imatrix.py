"""The importance matrix holds what torch says it must, in the format of llama.cpp's tools."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.quantizing.imatrix import Imatrix, gather, read, write
from pillm_llamacpp.quantizing.quantization import quantize
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_llamatools import run_tool
from pillm_llamacpp_tiny import conversations

import pillm

TEXTS = conversations()
PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


@pytest.fixture(scope="module")
def gathered(exported: dict[str, pillm.ModelFile]) -> Imatrix:
    return gather(exported["F16"].path, TEXTS, threads=1, progress=pillm.Progress(), datasets=["some texts"])


def same(one: Imatrix, other: Imatrix) -> bool:
    arrays = [(one.tensors, other.tensors), (one.counts, other.counts)]
    return (one.chunks, one.datasets, one.chunk_size) == (other.chunks, other.datasets, other.chunk_size) and all(
        mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)
        for mine, theirs in arrays
    )


def by_hooks(folder: Path, texts: list[str]) -> tuple[dict[str, np.ndarray], int]:
    """Return the sums that torch's forward hooks see, each text by itself, with the weights of an F16 file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).half().float().eval()
    sums: dict[str, np.ndarray] = {}
    tokens = 0

    def add(name: str, given: torch.Tensor) -> None:
        found = given.detach().double().square().sum(dim=(0, 1)).numpy()
        sums[name] = sums.get(name, 0) + found

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            _, _, layer, part = name.split(".", 3)
            key = f"blk.{layer}.{PARTS[part]}.weight"
            module.register_forward_pre_hook(lambda _, given, key=key: add(key, given[0]))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        tokens += ids.shape[1]
        with torch.no_grad():
            model(ids)
    return sums, tokens


def test_the_sums_are_those_that_torch_sees(gathered: Imatrix, checkpoint: pillm.Checkpoint) -> None:
    expected, tokens = by_hooks(checkpoint.path, TEXTS)
    assert gathered.tensors.keys() == expected.keys()
    for name, sums in expected.items():
        assert np.allclose(gathered.tensors[name], sums, rtol=0.01, atol=0.01 * sums.mean()), name
        assert gathered.counts[name].tolist() == [tokens]


def test_long_texts_are_read_in_pieces_and_every_token_counts(exported: dict[str, pillm.ModelFile]) -> None:
    path, joined = exported["F16"].path, "".join(TEXTS)
    found = gather(path, [joined], threads=1, context=32, progress=pillm.Progress())
    with Worker("a test") as worker:
        worker.ask(op="open", path=str(path), vocab_only=True)
        tokens = len(worker.ask(op="tokenize", text=joined)["ids"])
    assert {count.item() for count in found.counts.values()} == {tokens}
    assert found.chunk_size == 32
    assert found.chunks == round(tokens / 32)


def test_the_head_is_collected_where_it_is_asked_for_even_a_tied_one(
    gathered: Imatrix, exported: dict[str, pillm.ModelFile]
) -> None:
    assert all(name.startswith("blk.") for name in gathered.tensors)
    found = gather(exported["F16"].path, TEXTS[:2], threads=1, progress=pillm.Progress(), head=True)
    assert found.tensors.keys() - gathered.tensors.keys() == {"token_embd.weight"}


def test_progress_counts_the_tokens_that_were_read(exported: dict[str, pillm.ModelFile]) -> None:
    events: list[pillm.Event] = []
    found = gather(exported["F16"].path, TEXTS, threads=1, progress=pillm.Progress("export", (events.append,)))
    assert events[-1].done == events[-1].total == next(iter(found.counts.values())).item()


def test_what_is_written_is_read_again_experts_too(gathered: Imatrix, tmp_path: Path) -> None:
    experts = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = Imatrix(
        tensors={**gathered.tensors, "blk.0.ffn_up_exps.weight": experts},
        counts={**gathered.counts, "blk.0.ffn_up_exps.weight": np.array([2, 0, 4], np.float32)},
        chunks=7, datasets=("one", "two"),
    )  # fmt: skip
    write(made, tmp_path / "a.gguf")
    assert same(read(tmp_path / "a.gguf"), made)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.gguf"]
    means = made.means("blk.0.ffn_up_exps.weight").reshape(3, 4)
    assert np.array_equal(means, [[0, 0.5, 1, 1.5], [1, 1, 1, 1], [2, 2.25, 2.5, 2.75]])


def test_another_gguf_file_is_no_importance_matrix(exported: dict[str, pillm.ModelFile]) -> None:
    with pytest.raises(pillm.DataError, match=r"general\.type is not imatrix"):
        read(exported["Q4_K_M"].path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    one = np.ones(4, np.float32)
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    write(Imatrix({"blk.0.attn_q.weight": one}, {"blk.0.attn_q.weight": one[:1]}, 1, ("a",)), path)
    return path.read_bytes()


@pytest.mark.parametrize("own", [True, False])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_read_and_never_anything_else(
    small: bytes, tmp_path: Path, own: bool, data: st.DataObject
) -> None:
    damaged = bytearray(small[: data.draw(st.integers(0, len(small)))])
    for place in data.draw(st.lists(st.integers(0, len(small) - 1), max_size=3)):
        if place < len(damaged):
            damaged[place] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.gguf").write_bytes(damaged)
    with suppress(pillm.DataError, pillm.UnsafeError):
        found = read(tmp_path / "damaged.gguf", own=own)
        assert all(np.isfinite(found.means(name)).all() for name in found.tensors)


def test_without_texts_there_is_nothing_to_gather(exported: dict[str, pillm.ModelFile]) -> None:
    with pytest.raises(pillm.DataError, match="needs texts"):
        gather(exported["F16"].path, [], threads=1, progress=pillm.Progress())


def test_a_file_that_llama_cpp_cannot_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(pillm.DataError, match=r"importance matrix of no\.gguf: .*cannot load"):
        gather(tmp_path / "no.gguf", TEXTS, threads=1, progress=pillm.Progress())


def test_a_worker_that_dies_is_a_message(exported: dict[str, pillm.ModelFile], monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Worker.receive

    def killing(self: Worker) -> dict[str, object]:
        os.kill(self.pid, signal.SIGKILL)
        return receive(self)

    monkeypatch.setattr(Worker, "receive", killing)
    with pytest.raises(pillm.BackendError, match=r"importance matrix of tiny-F16\.gguf: the process was killed"):
        gather(exported["F16"].path, TEXTS, threads=1, progress=pillm.Progress())


def test_a_full_disk_leaves_nothing_half_written(gathered: Imatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pillm, "fsync_file", full)
    with pytest.raises(pillm.StorageError, match="No space left"):
        write(gathered, tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_llama_imatrix_finds_the_same_sums(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    path, text = exported["F16"].path, "".join(conversations(60))
    with Worker("a test") as worker:
        worker.ask(op="open", path=str(path), vocab_only=True)
        # llama-imatrix drops what does not fill a chunk
        while len(worker.ask(op="tokenize", text=text)["ids"]) % 64:
            text = text[:-1]
    (tmp_path / "texts.txt").write_text(text, "utf-8")
    run_tool(
        "llama-imatrix", "-m", path, "-f", tmp_path / "texts.txt", "-o", tmp_path / "theirs.gguf", "--output-format", "gguf",
        "-c", 64, "-b", 64, "--parse-special", "--no-ppl", "-t", 1,
    )  # fmt: skip
    theirs, mine = read(tmp_path / "theirs.gguf"), gather(path, [text], threads=1, context=64, progress=pillm.Progress())
    assert mine.tensors.keys() == theirs.tensors.keys()
    assert (mine.chunks, mine.chunk_size) == (theirs.chunks, theirs.chunk_size)
    for name, sums in theirs.tensors.items():
        assert mine.counts[name].tolist() == theirs.counts[name].tolist()
        assert np.allclose(mine.tensors[name], sums, rtol=1e-3), name


@pytest.mark.full
@pytest.mark.parametrize("quant", ["Q4_K_M", "IQ2_XS", "IQ4_NL"])
def test_llama_quantize_makes_the_same_tensors_from_our_file(
    gathered: Imatrix, exported: dict[str, pillm.ModelFile], tmp_path: Path, quant: str
) -> None:
    from gguf import GGUFReader

    source, mine, theirs = exported["F16"].path, tmp_path / "mine.gguf", tmp_path / "theirs.gguf"
    quantize(source, mine, quant, threads=1, progress=pillm.Progress(), imatrix=gathered)
    write(gathered, tmp_path / "imatrix.gguf")
    run_tool("llama-quantize", "--imatrix", tmp_path / "imatrix.gguf", source, theirs, quant, 1)
    files = [{tensor.name: tensor.data for tensor in GGUFReader(path).tensors} for path in (mine, theirs)]
    assert files[0].keys() == files[1].keys()
    assert all(np.array_equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.full
def test_llama_imatrix_reads_our_file_and_writes_the_same_again(
    gathered: Imatrix, exported: dict[str, pillm.ModelFile], tmp_path: Path
) -> None:
    write(gathered, tmp_path / "ours.gguf")
    run_tool(
        "llama-imatrix", "-m", exported["F16"].path, "--in-file", tmp_path / "ours.gguf", "-o", tmp_path / "again.gguf",
        "--output-format", "gguf",
    )  # fmt: skip
    again = read(tmp_path / "again.gguf")
    assert again.datasets == gathered.datasets
    assert all(np.array_equal(again.tensors[name], sums) for name, sums in gathered.tensors.items())
    assert all(np.array_equal(again.counts[name], count) for name, count in gathered.counts.items())
