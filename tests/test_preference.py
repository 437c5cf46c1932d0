"""Before anything is scored a file is preferred for a reason that can be said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.artifacts import ModelFile
from pillm.cards.preference import preferred_file

MODELS = [
    ModelFile(path=Path(f"a-{quant}.gguf"), quant=quant, bytes=size, sha256="")
    for quant, size in (("F16", 400), ("Q4_K_M", 110), ("Q8_0", 200), ("IQ4_NL", 100))
]


def test_what_the_exporter_chose_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "choice.json").write_text(json.dumps({"picked": "IQ4_NL"}))
    found = preferred_file(MODELS, tmp_path)
    assert found is not None
    assert (found.file, found.why) == ("a-IQ4_NL.gguf", "the exporter chose it; choice.json says by what")


@pytest.mark.parametrize("text", [None, "{", "[]", '{"picked": 3}', '{"picked": "Q2_K"}', "[" * 100_000])
def test_else_the_least_rounded_quantised_file(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "choice.json").write_text(text)
    found = preferred_file(MODELS, tmp_path)
    assert found is not None
    assert found.file == "a-Q8_0.gguf"
    assert found.why.startswith("the least rounded of the quantised files; nothing was measured")


def test_the_only_file_and_files_in_full_precision_alone(tmp_path: Path) -> None:
    only = preferred_file(MODELS[:1], tmp_path)
    assert only is not None
    assert (only.file, only.why) == ("a-F16.gguf", "it is the only file")
    full = [MODELS[0], ModelFile(path=Path("a-F32.gguf"), quant="F32", bytes=800, sha256="")]
    found = preferred_file(full, tmp_path)
    assert found is not None
    assert found.file == "a-F32.gguf"
    assert preferred_file([], tmp_path) is None
