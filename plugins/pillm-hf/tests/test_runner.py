"""The runner: answers from checkpoints and adapters, embeddings, and timings of prefill and decode apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pillm_hf import HFRunner, LoRA
from pillm_hf.models.loading import load_model

import pillm


def test_it_reads_checkpoints_only(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(pillm.ConfigError, match="checkpoint folders"):
        HFRunner().open(pillm.ModelFile.of(file, "F16"))
    with pytest.raises(pillm.DataError, match="tokenizer"):
        HFRunner().open(pillm.Checkpoint(path=tmp_path))


def test_a_folder_with_an_adapter_alone_answers_like_the_merged_student(
    base: Path, data: pillm.TrainingData, requests: list[pillm.Request], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    options = {"num_train_epochs": 20, "per_device_train_batch_size": 20, "learning_rate": 2e-2}
    LoRA(base=str(base), dtype="float32", **options).train(data, out, pillm.Progress())
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copytree(out / "adapter", alone / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copyfile(out / name, alone / name)
    runner = HFRunner(dtype="float32", max_new_tokens=8)

    def firsts(folder: Path) -> list[str]:
        with runner.open(pillm.Checkpoint(path=folder)) as session:
            return [answer.content[:6] for _, answer in sorted(session.answer(iter(requests)), key=lambda one: one[0].key)]

    assert firsts(alone) == firsts(out)
    assert firsts(out / "adapter") == firsts(out), "its tokenizer is its student's"
    assert firsts(alone) != firsts(base)


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_an_adapter_is_not_merged_into_weights_of_few_bits(
    base: Path, data: pillm.TrainingData, requests: list[pillm.Request], tmp_path: Path, load_in: str
) -> None:
    from pillm_hf.models.loading import load_adapted
    from pillm_hf.models.quantizing import quantization

    LoRA(base=str(base), dtype="float32", num_train_epochs=1).train(data, tmp_path, pillm.Progress())
    adapter, held = tmp_path / "adapter", quantization(load_in, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copyfile(tmp_path / name, adapter / name)
    names = {name for name, _ in load_adapted(adapter, torch.float32, quantization=held).named_parameters()}
    assert any("lora_A" in name for name in names)
    assert not [name for name, _ in load_adapted(adapter, torch.float32).named_parameters() if "lora_A" in name]
    with HFRunner(dtype="float32", load_in=load_in, max_new_tokens=4).open(pillm.Checkpoint(path=adapter)) as session:
        assert len(list(session.answer(iter(requests)))) == len(requests)
        assert len(next(iter(session.embed(["lac"])))) == 64


def test_embeddings_are_the_mean_of_the_last_hidden_states(base: Path) -> None:
    with HFRunner(dtype="float32").open(pillm.Checkpoint(path=base)) as session:
        one, two = session.embed(["érable", "minuit livre"])
        with pytest.raises(pillm.DataError, match="empty"):
            next(session.embed([""]))
        with pytest.raises(pillm.DataError, match=r"longer than the model's \d+ positions\. Shorten it"):
            next(session.embed(["érable " * 999]))
    assert len(one) == len(two) == 64
    model = load_model(base, torch.float32)
    from pillm_hf.rows.opening import load_chat

    ids = torch.tensor(load_chat(base).encode(["érable"]))
    states = model.model(input_ids=ids).last_hidden_state[0].mean(0)
    torch.testing.assert_close(torch.tensor(one), states.detach(), rtol=1e-4, atol=1e-5)


def test_prefill_and_decode_are_timed_apart(base: Path) -> None:
    with HFRunner(dtype="float32").open(pillm.Checkpoint(path=base, name="tiny")) as session:
        timed = session.bench(pillm.BenchPlan(pp=64, tg=4, repetitions=2, threads=1))
    assert (timed.model, timed.basis, timed.pp, timed.tg, timed.threads) == ("tiny", "measured", 64, 4, 1)
    assert timed.pp_tps > timed.tg_tps > 0
    assert len(timed.samples["pp_tps"]) == 2


def test_a_closed_session_says_so(base: Path, requests: list[pillm.Request]) -> None:
    session = HFRunner(dtype="float32").open(pillm.Checkpoint(path=base))
    session.close()
    session.close()
    with pytest.raises(pillm.BackendError, match="closed"):
        next(session.answer(iter(requests)))
