"""Files that were made to do harm are refused, whatever is wrong with them, and good ones are not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

import pillm
from pillm.intake.door import faults_of
from pillm.intake.faults import Fault
from pillm.intake.inspection import look_at_file
from pillm.testing.hostile import SOUND, write_hostile

VOCABULARIES = Path(__file__).parent.parent.parent / "shared" / "data" / "vocab"
NANO = Path(__file__).parent.parent / "plugins" / "pillm-nano" / "pillm_nano" / "models"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_hostile(tmp_path_factory.mktemp("hostile"))


def test_there_is_a_hostile_file_for_every_known_way(hostile: dict[str, Path]) -> None:
    assert len(hostile) >= 100
    kinds = {name.partition(":")[0] for name in hostile}
    assert kinds == {"gguf", "safetensors", "tokenizer", "folder"}


def test_every_hostile_file_is_refused_with_its_reason(hostile: dict[str, Path]) -> None:
    files = {name: path for name, path in hostile.items() if path.is_file()}
    for (name, path), said in zip(files.items(), faults_of(list(files.values())), strict=True):
        assert isinstance(said, Fault), name
        assert "did not understand" not in said.reason, name
        with pytest.raises((pillm.UnsafeError, pillm.DataError)) as raised:
            pillm.check_model_file(path)
        assert path.name in str(raised.value)
        assert "opened" in str(raised.value)


def test_every_hostile_folder_is_refused_and_its_file_is_named(hostile: dict[str, Path]) -> None:
    for name, path in hostile.items():
        if path.is_dir():
            with pytest.raises((pillm.UnsafeError, pillm.DataError)) as raised:
                pillm.check_model_folder(path)
            assert str(path) in str(raised.value), name


@pytest.mark.full
def test_no_hostile_file_takes_two_seconds(hostile: dict[str, Path]) -> None:
    for name, path in hostile.items():
        began = time.perf_counter()
        with pytest.raises((pillm.UnsafeError, pillm.DataError)):
            (pillm.check_model_folder if path.is_dir() else pillm.check_model_file)(path)
        assert time.perf_counter() - began < 2, name


def library_made(folder: Path) -> list[Path]:
    """Return GGUF files that the gguf library wrote, one for each of some storage types."""
    random = np.random.default_rng(1)
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"):
        type_ = GGMLQuantizationType[kind]
        writer = GGUFWriter(folder / f"{kind}.gguf", "llama")
        writer.add_block_count(1)
        writer.add_embedding_length(64)
        writer.add_token_list(["<unk>", "<0x0A>", "a"])
        writer.add_token_types([2, 6, 1])
        writer.add_tokenizer_model("llama")
        writer.add_chat_template("{{ messages[0]['content'] }}")
        for name, shape in (("token_embd.weight", (3, 64)), ("output.weight", (3, 64))):
            data = random.standard_normal(shape).astype(np.float32)
            writer.add_tensor(name, quantize(data, type_), raw_dtype=type_)
        writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return sorted(folder.glob("*.gguf"))


def test_good_files_pass(tmp_path: Path) -> None:
    good = [*library_made(tmp_path), *sorted(VOCABULARIES.glob("*.gguf"))]
    (tmp_path / "sound.gguf").write_bytes(SOUND)
    good += [tmp_path / "sound.gguf"]
    good += [path for model in sorted(NANO.iterdir()) for path in sorted(model.iterdir()) if path.suffix in SUFFIXES]
    assert len(good) >= 17 + len(list(VOCABULARIES.glob("*.gguf")))
    assert faults_of(good) == [()] * len(good)
    for model in sorted(NANO.iterdir()):
        assert pillm.check_model_folder(model) == ()


SUFFIXES = (".safetensors", ".json", ".jinja")


def test_every_truncation_of_a_gguf_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"{length}.gguf" for length in range(len(SOUND))]
    for length, path in enumerate(files):
        path.write_bytes(SOUND[:length])
    last = 160  # the bytes of its tensors; what follows them is padding, which nobody needs
    for length, said in enumerate(faults_of(files)):
        assert isinstance(said, Fault), length
    assert len(SOUND) - len(SOUND.rstrip(b"\0")) >= last


@pytest.mark.parametrize("masks", [(0xFF,), pytest.param((0x01, 0x02, 0x10, 0x40, 0x80), marks=pytest.mark.full)])
def test_every_flipped_byte_of_a_gguf_is_refused_or_read_and_none_is_misunderstood(
    tmp_path: Path, masks: tuple[int, ...]
) -> None:
    refused = 0
    path = tmp_path / "flipped.gguf"
    for place in range(len(SOUND)):
        for mask in masks:
            raw = bytearray(SOUND)
            raw[place] ^= mask
            path.write_bytes(raw)
            try:
                look_at_file(path)  # anything but a Fault fails the test
            except Fault:
                refused += 1
    assert 100 * len(masks) < refused < len(SOUND) * len(masks)


def test_a_pipe_or_a_device_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    began = time.perf_counter()
    for path in (tmp_path / "pipe.gguf", Path("/dev/zero")):
        with pytest.raises(pillm.UnsafeError, match="a pipe or a device"):
            pillm.check_model_file(path)
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(pillm.DataError, match=r"not a file|cannot be read"):
            pillm.check_model_file(path)
    assert time.perf_counter() - began < 10


def plan(path: Path) -> Any:
    return pillm.plan(path, pillm.device("pi4-4gb"))


def test_plan_and_verify_refuse_what_the_door_refuses(hostile: dict[str, Path]) -> None:
    with pytest.raises(pillm.UnsafeError, match="overlaps"):
        plan(hostile["gguf: data that overlaps"])
    with pytest.raises(pillm.UnsafeError, match="vocab_size"):
        plan(hostile["folder: a vocabulary of billions"])
