"""What a model folder's own card says of its licence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillm.origins import front_matter, license_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n# x\n", ("mit", None)),
        ("---\nlicense: other\nlicense_name: qwen-research\nlicense_link: LICENSE\n---\n", ("qwen-research", "LICENSE")),
        ("---\nlicense: [apache-2.0]\n---\n", ("apache-2.0", None)),
        ("---\nlicense: [mit, gpl-3.0]\n---\n", (None, None)),
        ("# a card without a table\nlicense: mit\n", (None, None)),
        ("---\nlicense: mit\n", (None, None)),
        ("---\nlicense: !!python/object:os.system x\n---\n", (None, None)),
        ("---\n- mit\n---\n", (None, None)),
    ],
)
def test_the_licence_of_a_card_is_read_and_nothing_else_is_guessed(
    tmp_path: Path, text: str, expected: tuple[str | None, str | None]
) -> None:
    (tmp_path / "README.md").write_text(text)
    assert license_of(tmp_path) == expected


def test_a_folder_without_a_card_says_nothing(tmp_path: Path) -> None:
    assert license_of(tmp_path) == license_of(None) == (None, None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_of_a_card_raise(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "README.md").write_bytes(b"---\n" + data + b"\n---\n")
    assert isinstance(front_matter(tmp_path / "README.md"), dict)
