"""The writer against the pinned converter and against peft: the same tensors to the byte, the same keys."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp.writing.writer import Uncovered
from pillm_llamacpp_students import (
    ASKED,
    DTYPES,
    FAMILIES,
    OWN_KEYS,
    STOPS,
    contents,
    reference,
    save_as,
    write_student,
    written,
)
from safetensors.numpy import load_file

import pillm

ADAPTERS: dict[str, dict[str, Any]] = {
    "lora-qwen2": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    "rslora-mistral": {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["q_proj", "k_proj", "down_proj"]},
    "patterns-llama": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "v_proj"],
        "rank_pattern": {"k_proj": 6}, "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 32},
    },
    "lora-qwen3": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "dora-qwen2": {"r": 4, "lora_alpha": 8, "use_dora": True, "target_modules": ["q_proj", "o_proj", "up_proj"]},
}  # fmt: skip
KINDS = ("F32", "F16", "BF16", "Q8_0")
SOME = {"qwen2": KINDS, "qwen3": KINDS, "mistral": KINDS}
"""Of which family which types are compared; F16 of the others."""


def family_of(adapter: str) -> str:
    return adapter.rpartition("-")[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of students, of adapters on them, and of what the converter and peft made of both."""
    work = tmp_path_factory.mktemp("reference")
    jobs: list[dict[str, Any]] = []
    for family in FAMILIES:
        folder = write_student(work / "students" / family, family)
        told = {"convert": str(folder), "stops": STOPS, "keys": OWN_KEYS}
        jobs += [{**told, "to": str(work / f"{family}-{kind}.gguf"), "as": kind} for kind in SOME.get(family, ("F16",))]
        if family in ASKED:
            jobs.append({**told, "to": str(work / f"{family}-keys.gguf"), "as": "F16", "vocab_only": True})
    for name, settings in ADAPTERS.items():
        base, adapter, merged = (str(work / at) for at in (f"students/{family_of(name)}", f"adapters/{name}", f"merged/{name}"))
        jobs += [
            {"adapter": settings, "base": base, "to": adapter},
            {"merge": adapter, "base": base, "to": merged},
            {"convert": merged, "stops": STOPS, "keys": OWN_KEYS, "to": str(work / f"{name}.gguf"), "as": "Q8_0"},
        ]
    for name in ("lora-qwen2", "lora-qwen3"):
        told = {"lora": str(work / "adapters" / name), "base": str(work / "students" / family_of(name)), "as": "f16"}
        jobs.append({**told, "to": str(work / f"{name}-alone.gguf")})
    reference(jobs, work)
    return work


def vocabulary(made: Path, family: str) -> dict[str, str]:
    return {"vocabulary": str(made / f"{family}-keys.gguf")} if family in ASKED else {}


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_and_keys_are_the_converters_to_the_byte(family: str, made: Path, tmp_path: Path) -> None:
    kinds = SOME.get(family, ("F16",))
    files = written(made / "students" / family, tmp_path, kinds, threads=2, **vocabulary(made, family))
    for kind in kinds:
        (keys, tensors), (wanted_keys, wanted) = contents(files[kind]), contents(made / f"{family}-{kind}.gguf")
        assert list(tensors) == list(wanted)
        assert {name: found[:2] for name, found in tensors.items()} == {name: found[:2] for name, found in wanted.items()}
        assert [name for name in wanted if tensors[name] != wanted[name]] == []
        assert keys == wanted_keys
        if family not in ASKED:
            assert files[kind].read_bytes() == (made / f"{family}-{kind}.gguf").read_bytes()


def test_a_model_whose_keys_are_the_converters_work_says_so(made: Path, tmp_path: Path) -> None:
    with pytest.raises(Uncovered, match="gemma2") as caught:
        written(made / "students" / "gemma2", tmp_path)
    assert caught.value.what == "vocabulary"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in ADAPTERS if not name.startswith("dora")])
def test_a_merged_adapter_is_what_peft_merges_and_the_converter_converts(name: str, made: Path, tmp_path: Path) -> None:
    files = written(made / "students" / family_of(name), tmp_path, ("Q8_0",), adapter=str(made / "adapters" / name))
    tensors, wanted = contents(files["Q8_0"])[1], contents(made / f"{name}.gguf")[1]
    assert [key for key in wanted if tensors[key] != wanted[key]] == []
    plain = contents(written(made / "students" / family_of(name), tmp_path / "plain", ("Q8_0",))["Q8_0"])[1]
    assert sum(tensors[key] != plain[key] for key in plain) >= 4  # so it was merged


def test_dora_is_merged_as_peft_does_but_for_the_order_of_its_sums(made: Path, tmp_path: Path) -> None:
    name = "dora-qwen2"
    files = written(made / "students" / "qwen2", tmp_path, ("F32",), adapter=str(made / "adapters" / name))
    merged = made / "merged" / name / "model.safetensors"
    save_as_float(merged, tmp_path / "merged.safetensors")
    tensors, wanted = contents(files["F32"])[1], load_file(tmp_path / "merged.safetensors")
    mine = np.frombuffer(tensors["blk.0.attn_q.weight"][2], np.float32)
    theirs = wanted["model.layers.0.self_attn.q_proj.weight"].reshape(-1)
    assert float(np.mean(mine != theirs)) < 0.001  # one unit of bfloat16, where a sum lies between two
    assert np.allclose(mine, theirs, rtol=2**-7)


def save_as_float(path: Path, to: Path) -> None:
    """Rewrite a BF16 file in F32."""
    from pillm_llamacpp.writing.shards import Reader, tensors

    with Reader() as reader:
        save_as({name: reader.whole(tensor) for name, tensor in tensors(path).items()}, to, "F32")


@pytest.mark.parametrize("name", ["lora-qwen2", "lora-qwen3"])
def test_an_adapter_alone_is_what_llama_cpps_own_script_writes(name: str, made: Path, tmp_path: Path) -> None:
    more = {"adapter": str(made / "adapters" / name), "alone": True}
    files = written(made / "students" / family_of(name), tmp_path, ("F16",), **more)
    (keys, tensors), (wanted_keys, wanted) = contents(files["F16"]), contents(made / f"{name}-alone.gguf")
    assert tensors == wanted
    told = ("general.name", "general.basename", "general.finetune", "general.size_label", *OWN_KEYS)  # from names of folders
    assert {key: keys[key] for key in keys if key not in told} == {
        key: wanted_keys[key] for key in wanted_keys if key not in told
    }


def test_an_adapter_for_another_base_is_refused_by_name(made: Path, tmp_path: Path) -> None:
    with pytest.raises(
        pillm.DataError, match=r"lora-qwen2 does not fit its base: it changes model\.layers\.0\.\S+, .* Name the"
    ):
        written(made / "students" / "qwen3", tmp_path, adapter=str(made / "adapters" / "lora-qwen2"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(threads: int, made: Path, tmp_path: Path) -> None:
    files = written(made / "students" / "qwen2", tmp_path, ("Q8_0",), threads=threads)
    assert files["Q8_0"].read_bytes() == (made / "qwen2-Q8_0.gguf").read_bytes()


def test_llama_cpp_opens_what_was_written(made: Path, tmp_path: Path) -> None:
    files = written(made / "students" / "smollm3", tmp_path, ("Q8_0",))
    with Worker("a test") as worker:
        facts = worker.ask(op="open", path=str(files["Q8_0"]))
        assert facts["name"] == "student"
        assert 2 in facts["ends"]
        assert worker.ask(op="time", kind="tg", tokens=4, depth=0, threads=1)


def test_a_folder_that_only_the_converter_knows_is_named_with_the_reason(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "students" / "mistral", tmp_path / "copy")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("MistralForCausalLM", "MixtralForCausalLM"))
    with pytest.raises(Uncovered, match="MixtralForCausalLM is written by the converter only") as caught:
        written(folder, tmp_path / "out")
    assert caught.value.what == "uncovered"
    assert DTYPES["mistral"] == "F16"
