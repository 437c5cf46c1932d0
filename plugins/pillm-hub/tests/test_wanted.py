"""Which files of a repository are fetched."""

from __future__ import annotations

import pytest
from pillm_hub.wanted import INDEX, Listed, choose, left_out, named, require_weights

import pillm


def listed(*names: str) -> list[Listed]:
    """Return a listing of files with those names."""
    return [Listed(name, 10, "git:" + "0" * 40) for name in names]


def chosen(*names: str) -> list[str]:
    """Return the names that are chosen of a listing."""
    return [file.path for file in choose(listed(*names))]


def test_small_files_come_first_and_code_and_pickles_never() -> None:
    there = ("model.safetensors", "modeling.py", "pytorch_model.bin", "config.json", "README.md", "chat_template.jinja")
    assert chosen(*there) == ["chat_template.jinja", "config.json", "model.safetensors"]


def test_files_in_folders_and_odd_names_are_left_where_they_are() -> None:
    assert chosen("config.json", "onnx/config.json", "../x.json", "a\nb.json", ".hidden.json", "model.safetensors") == [
        "config.json", "model.safetensors",
    ]  # fmt: skip


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        ([INDEX, *SHARDS, "consolidated.safetensors"], SHARDS),
        (["adapter_model.safetensors"], ["adapter_model.safetensors"]),
        (["weights.safetensors"], ["weights.safetensors"]),
        ([INDEX, "part1.safetensors", "part2.safetensors"], ["part1.safetensors", "part2.safetensors"]),
    ],
)
def test_of_two_copies_of_the_weights_only_one_is_taken(there: list[str], taken: list[str]) -> None:
    assert [name for name in chosen(*there) if name.endswith(".safetensors")] == taken


def test_what_is_code_or_could_run_is_named() -> None:
    assert left_out(listed("a.py", "sub/b.py", "pytorch_model.bin", "x.PKL", "config.json", "README.md")) == (
        "a.py", "pytorch_model.bin", "sub/b.py", "x.PKL",
    )  # fmt: skip


def test_weights_that_are_pickles_alone_are_refused_as_unsafe_and_no_weights_as_no_model() -> None:
    require_weights(listed("model.safetensors", "pytorch_model.bin"), "acme/x")
    with pytest.raises(pillm.UnsafeError, match=r"can run code \(pytorch_model\.bin\)"):
        require_weights(listed("config.json", "pytorch_model.bin"), "acme/x")
    with pytest.raises(pillm.DataError, match=r"neither \*\.safetensors nor \*\.gguf"):
        require_weights(listed("config.json", "onnx/model.safetensors"), "acme/x")


FILES = ("student-F16.gguf", "student-Q8_0.gguf")


def test_model_files_are_chosen_where_there_are_no_safetensors_with_what_stands_beside_them() -> None:
    beside = ("Modelfile", "README.md", "SHA256SUMS", "card.json", "grammar.gbnf")
    assert sorted(chosen(*FILES, *beside, "x.py", "run.sh")) == sorted((*FILES, *beside))
    assert chosen(*FILES, *beside, "model.safetensors") == ["card.json", "model.safetensors"]


def test_of_model_files_those_are_fetched_that_are_named() -> None:
    assert named([*FILES, "card.json"], [FILES[1]], "acme/x@1") == {FILES[1], "card.json"}
    for only in (None, ["config.json"]):
        with pytest.raises(pillm.DataError, match=r"pillm fetch acme/x --file student-F16\.gguf"):
            named([*FILES, "card.json"], only, "acme/x@1")
    with pytest.raises(pillm.DataError, match=r"has no 'other\.gguf'\. It has student-F16\.gguf, student-Q8_0\.gguf"):
        named(FILES, ["other.gguf"], "acme/x@1")
    with pytest.raises(pillm.DataError, match="holds no model files"):
        named(["model.safetensors"], ["other.gguf"], "acme/x@1")
