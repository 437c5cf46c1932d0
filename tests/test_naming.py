"""Names of model files follow the convention of the format."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.cards.naming import ModelName, size_label, slug, split_name, student_name, weights_of

CONVENTION = re.compile(
    r"(?P<base>[A-Za-z0-9.]+(?:-[A-Za-z0-9.]+)*?)-(?P<size>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z])(?:-(?P<tune>[A-Za-z0-9._-]+?))?"
    r"-(?P<version>v\d+(?:\.\d+)*)-(?P<encoding>[\w_]+)\.gguf"
)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", ("Qwen2.5", "0.5B", "Instruct")),
        ("HuggingFaceTB/SmolLM2-135M", ("SmolLM2", "135M", None)),
        ("meta-llama/Llama-3.2-1B-Instruct@abcdef", ("Llama-3.2", "1B", "Instruct")),
        ("mistralai/Mixtral-8x7B-v0.1", ("Mixtral", "8x7B", None)),
        ("nano-base", ("nano-base", None, None)),
        ("microsoft/Phi-3-mini-4k-instruct", ("Phi-3-mini-4k-instruct", None, None)),
    ],
)
def test_a_published_name_is_taken_apart(model: str, parts: tuple[str, str | None, str | None]) -> None:
    found = split_name(model)
    assert (found.basename, found.size_label, found.finetune) == parts


def test_a_student_is_named_after_its_base_its_size_and_what_it_was_taught() -> None:
    name = student_name("quickstart", "nano-base", 1_969_000)
    assert f"{name.stem}-Q4_K_M.gguf" == "nano-base-2.0M-quickstart-v1.0-Q4_K_M.gguf"
    assert name.title == "Nano Base 2.0M Quickstart"
    found = CONVENTION.fullmatch(f"{name.stem}-Q4_K_M.gguf")
    assert found
    assert found.groupdict() == {
        "base": "nano-base", "size": "2.0M", "tune": "quickstart", "version": "v1.0", "encoding": "Q4_K_M",
    }  # fmt: skip


def test_a_bases_own_size_serves_a_student_of_about_its_size_and_no_other() -> None:
    assert student_name("home", "Qwen/Qwen2.5-0.5B-Instruct", 494_000_000).stem == "Qwen2.5-0.5B-home-v1.0"
    assert student_name("home", "Qwen/Qwen2.5-0.5B-Instruct", 260_000_000).stem == "Qwen2.5-260M-home-v1.0"
    assert student_name("home", None, None, "v2.1").stem == "home-v2.1"


@pytest.mark.parametrize(
    ("weights", "label"), [(999, "1.0K"), (1_969_000, "2.0M"), (135_000_000, "135M"), (1_235_814_400, "1.2B"), (7e9, "7.0B")]
)
def test_size_labels_have_two_digits_at_least(weights: int, label: str) -> None:
    assert size_label(int(weights)) == label


@given(st.text(max_size=80), st.text(max_size=30), st.none() | st.integers(1, 10**13))
def test_no_name_leaves_its_folder(label: str, base: str, weights: int | None) -> None:
    stem = student_name(label, base or None, weights).stem
    assert re.fullmatch(r"[A-Za-z0-9._-]+", stem)
    assert not stem.startswith(".")
    assert slug(stem[:60]) == stem[:60].strip("-._")


def test_weights_are_counted_from_the_headers_alone(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "a": {"dtype": "F16", "shape": [3, 5], "data_offsets": [0, 30]},
                         "b": {"dtype": "F16", "shape": [2], "data_offsets": [30, 34]}}).encode()  # fmt: skip
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(34))
    assert weights_of(tmp_path) == 17
    assert weights_of(tmp_path / "nowhere") is None


@given(st.binary(max_size=64))
def test_a_damaged_header_counts_nothing(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors").write_bytes(data)
        assert weights_of(Path(folder)) in (None, 0) or data[:8] == b"\x02" + bytes(7)


def test_the_parts_of_a_name_are_joined_in_the_conventions_order() -> None:
    assert ModelName("Qwen 3", "0.6B", "my task").stem == "Qwen-3-0.6B-my-task-v1.0"
