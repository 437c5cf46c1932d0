"""Names from outside: only plain ones choose a path."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillm_hub.names import is_plain_file, is_repository, is_revision

ODD = st.text(st.sampled_from("aZ09./\\-_ +@~\0\n‥／é"), max_size=12)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "acme/tiny", "a/b", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_a_repository_is_owner_and_name(name: str) -> None:
    assert is_repository(name)


@pytest.mark.parametrize(
    "name",
    ["", "tiny", "a/b/c", "../b", "a/..", "a--b/c", "-a/b", "a/b.git", "a/b.gguf", "a/" + "b" * 96, "a/b\n", "é/b", "a/b c"],
)
def test_anything_else_is_no_repository(name: str) -> None:
    assert not is_repository(name)


@pytest.mark.parametrize("name", ["main", "v1.0", "refs/pr/1", "0" * 40, "feature/x_y"])
def test_a_revision_is_a_branch_a_tag_or_a_commit(name: str) -> None:
    assert is_revision(name)


@given(ODD)
def test_no_name_that_is_accepted_leads_out_of_its_folder(text: str) -> None:
    if is_plain_file(text):
        assert PurePosixPath(text).name == text
    if is_revision(text) or is_repository(text):
        assert ".." not in text
        assert not PurePosixPath(text).is_absolute()
        assert not {"\0", "\n", "\\"} & set(text)
