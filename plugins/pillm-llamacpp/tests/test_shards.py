from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.shards import Reader, stored, tensors, widened
from pillm_llamacpp_students import save_as

VALUES = {"b": np.arange(12, dtype=np.float32).reshape(3, 4), "a": np.array([1.5, -2.0], np.float32)}


def one_file(folder: Path, dtype: str = "F32") -> Path:
    save_as(VALUES, folder / "model.safetensors", dtype)
    return folder / "model.safetensors"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_rows_are_read_as_they_are_stored(tmp_path: Path, dtype: str) -> None:
    found = tensors(one_file(tmp_path, dtype))
    assert list(found) == ["a", "b"]
    with Reader() as reader:
        rows = reader.rows(found["b"], 1, 2)
        assert rows.dtype == {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[dtype]
        assert widened(rows).tolist() == VALUES["b"][1:].tolist()
        assert reader.whole(found["a"]).tolist() == [1.5, -2.0]


def test_shards_are_one_model(tmp_path: Path) -> None:
    for name in VALUES:
        save_as({name: VALUES[name]}, tmp_path / f"model-{name}.safetensors", "F16")
    index = {"weight_map": {name: f"model-{name}.safetensors" for name in VALUES}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {name: (found.shape, found.path.name) for name, found in stored(tmp_path).items()} == {
        "a": ((2,), "model-a.safetensors"),
        "b": ((3, 4), "model-b.safetensors"),
    }


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ({"weight_map": {"a": "../model.safetensors"}}, "names a file outside its folder"),
        ({"weight_map": {"a": "model-9.safetensors"}}, "lacks model-9.safetensors"),
        ({"weight_map": {"a": "model.safetensors"}}, "disagree over b"),
        ({"weight_map": 3}, "no weight_map"),
        ([], "holds no object"),
    ],
)
def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path: Path, index: object, complaint: str) -> None:
    one_file(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Refusal, match=complaint):
        stored(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=f"{tmp_path} holds no tensors"):
        stored(tmp_path)


def test_a_file_that_shrinks_while_it_is_read_is_said(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    found = tensors(path)
    path.write_bytes(path.read_bytes()[:-20])
    with Reader() as reader, pytest.raises(Refusal, match=r"ended while b was read"):
        reader.rows(found["b"], 0, 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_refused_or_read_within_its_bounds(tmp_path: Path, place: int, value: int, cut: bool) -> None:
    path = one_file(tmp_path)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place] = value
    path.write_bytes(data[:place] if cut else data)
    try:
        found = tensors(path)
    except Refusal:
        return
    for tensor in found.values():
        assert 0 <= tensor.offset <= tensor.offset + tensor.nbytes <= path.stat().st_size
