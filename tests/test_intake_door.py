from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.intake import asking, door
from pillm.testing.ggufs import Typed, gguf
from pillm.testing.hostile import MODEL, SOUND, TENSORS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count how often the child is asked."""
    seen: list[Any] = []
    for name in ("look", "try_template"):
        real = getattr(asking, name)

        def counted(*given: Any, _real: Any = real, _name: str = name, **named: Any) -> Any:
            seen.append(_name)
            return _real(*given, **named)

        monkeypatch.setattr(asking, name, counted)
    return seen


def model(tag: str) -> bytes:
    return gguf({**MODEL, "tokenizer.chat_template": "{{ messages | length }}" + tag}, TENSORS, 160)


def test_a_file_is_looked_at_once_while_it_stays_the_same(tmp_path: Path, asked: list[Any]) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(model("once"))
    for _ in range(3):
        assert pillm.check_model_file(path) == ()
    assert asked == ["look", "try_template"]
    path.write_bytes(SOUND[:200])
    with pytest.raises(pillm.DataError, match="200 bytes are too few"):
        pillm.check_model_file(path)
    with pytest.raises(pillm.DataError):
        pillm.check_model_file(path)
    assert asked == ["look", "try_template", "look"]


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(SOUND)
    pillm.check_model_file(path)
    stamp = path.stat()
    path.write_bytes(b"GGML" + SOUND[4:])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(pillm.DataError, match="not a GGUF file"):
        pillm.check_model_file(path)


def test_a_change_of_another_part_of_a_split_model_is_seen(tmp_path: Path) -> None:
    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    first.write_bytes(gguf({**MODEL, "split.count": Typed(2, 2)}, TENSORS, 160))
    second.write_bytes(gguf({"a": 1}))
    assert pillm.check_model_file(first) == ()
    second.write_bytes(b"GGUF")
    with pytest.raises(pillm.DataError, match=r"m-00002-of-00002\.gguf: it ends at byte 4"):
        pillm.check_model_file(first)


def test_several_files_share_one_child(tmp_path: Path, asked: list[Any]) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.gguf")
        paths[-1].write_bytes(model("several"))
    assert door.check_model_files(paths) == [()] * 5
    assert asked == ["look", "try_template"]


def test_a_folder_is_looked_at_anew_when_a_file_of_it_changes(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert pillm.check_model_folder(tmp_path) == pillm.check_model_folder(tmp_path) == ()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("[")
    with pytest.raises(pillm.DataError, match=r"adapter_config\.json: it is not JSON"):
        pillm.check_model_folder(tmp_path)
    assert asked == ["look", "look"]
    with pytest.raises(pillm.DataError, match="is not a folder"):
        pillm.check_model_folder(tmp_path / "config.json")


def test_a_template_is_tried_once_and_then_known_by_its_hash(asked: list[Any]) -> None:
    for _ in range(2):
        pillm.check_chat_template("{{ messages[0].content }} once", "a test")
        with pytest.raises(pillm.UnsafeError, match=r"a test: .* reaches for what it must not"):
            pillm.check_chat_template("{{ messages[0].__class__.__bases__ }} once", "a test")
    assert asked == ["try_template"] * 2
    assert pillm.template_hash("a") != pillm.template_hash("b")


def test_a_template_may_use_the_special_tokens_of_its_tokenizer() -> None:
    pillm.check_chat_template("{{ bos_token + sep_token }}", "a test", {"sep_token": "<sep>"})


@pytest.mark.parametrize(("raw", "kind", "remedy"), [
    (SOUND[:99], pillm.DataError, "Download it or export it again."),
    (gguf([("a", 1), ("a", 1)]), pillm.UnsafeError, "Get it from a source that you trust"),
])  # fmt: skip
def test_a_refusal_says_what_where_and_what_to_do(raw: bytes, kind: type[Exception], remedy: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(raw)
    with pytest.raises(kind) as caught:
        pillm.check_model_file(tmp_path / "a.gguf")
    assert all(part in str(caught.value) for part in ("a.gguf", "(byte ", remedy))
