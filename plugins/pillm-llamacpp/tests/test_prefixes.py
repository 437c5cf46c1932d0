"""What prompts begin with is computed once; a file that keeps it is taken whole and from the same model, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pillm_llamacpp.inference.prefixes import Prefixes, Storage, key_of
from pillm_llamacpp.inference.session import LocalSession
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import request

import pillm

TOKENS = list(range(100, 200))
STATE = np.arange(5000, dtype=np.uint8)
RULES = "Answer in one word. " * 6


def keep(path: Path, key: str = "a" * 64) -> Path:
    """Write a prefix to a file."""
    Prefixes(key, Storage(path=path, single=True)).add(TOKENS, STATE)
    return path


def found(path: Path, key: str = "a" * 64) -> np.ndarray | None:
    """Return the state that a file gives for a prompt that begins like what it keeps."""
    best = Prefixes(key, Storage(path=path, single=True)).best([*TOKENS, 1, 2, 3])
    return None if best is None else best.state


def ask(file: pillm.ModelFile, *texts: str, **options: object) -> list[pillm.Answer]:
    """Return the answers to questions under the same rules."""
    said = []
    with LocalRunner(max_tokens=6, **options).open(file) as session:
        requests = []
        for number, text in enumerate(texts):
            one = request(text, number)
            messages = ({"role": "system", "content": RULES}, *one.messages)
            requests.append(pillm.Request(key=one.key, prompt=one.prompt, messages=messages))
        answers = {asked.key: result for asked, result in session.answer(iter(requests))}
        for one in requests:
            result = answers[one.key]
            assert isinstance(result, pillm.Answer)
            said.append(result)
    return said


def cached(answer: pillm.Answer) -> int:
    assert answer.usage
    return answer.usage.cached_tokens


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    state = found(keep(tmp_path / "kept"))
    assert state is not None
    assert (state == STATE).all()
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("facts", [{"model": "b"}, {"context": 2048}, {"cache": "q8_0"}, {"engine": "another"}])
def test_another_model_context_cache_or_llama_cpp_has_another_key(facts: dict[str, object], tmp_path: Path) -> None:
    of = {"model": "a", "context": 4096, "cache": "f16", "engine": "0c1e57098"}
    path = keep(tmp_path / "kept", key_of(**of))
    assert found(path, key_of(**of)) is not None
    assert found(path, key_of(**{**of, **facts})) is None


def test_a_prompt_that_begins_otherwise_takes_nothing(tmp_path: Path) -> None:
    kept = Prefixes("a" * 64, Storage(path=keep(tmp_path / "kept"), single=True))
    assert kept.best([*TOKENS[:20], 1, 2, 3]) is None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 7000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_file_that_was_changed_or_cut_off_gives_what_was_kept_or_nothing(
    tmp_path: Path, place: int, byte: int, cut: bool
) -> None:
    path = keep(tmp_path / "kept")
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] = byte
    path.write_bytes(data)
    state = found(path)
    assert state is None or (state == STATE).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"pillm prefix 1\n", b"pillm prefix 1\n{}\n", b"pillm prefix 1\n" + b"[" * 100_000, b"\x00" * 4096,
     b'pillm prefix 1\n{"key": "%s", "tokens": [true, -1], "bytes": 0, "sha256": ""}\n' % (b"a" * 64)],
)  # fmt: skip
def test_a_strange_file_gives_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept").write_bytes(content)
    assert found(tmp_path / "kept") is None


def test_a_file_that_is_not_a_prefix_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("prompts: prompts.jsonl\n")
    keep(path)
    assert path.read_text() == "prompts: prompts.jsonl\n"


def test_a_folder_holds_no_more_than_its_limit_and_loses_the_oldest(tmp_path: Path) -> None:
    storage = Storage(path=tmp_path / "all", single=False, most=13_000)
    for number in range(4):
        Prefixes("a" * 64, storage).add([number, *TOKENS], STATE)
        for path in (tmp_path / "all").glob("*.state"):
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    assert len(list((tmp_path / "all").glob("*.state"))) <= 2
    assert Prefixes("a" * 64, storage).best([3, *TOKENS]) is not None
    assert Prefixes("a" * 64, storage).best([0, *TOKENS]) is None


def test_answers_that_are_decoded_together_share_what_their_prompts_begin_with(gguf: pillm.ModelFile) -> None:
    said = ask(gguf, "Oui", "Non", "Peut-être", "Jamais", parallel=4)
    assert sorted(map(cached, said))[0] == 0
    assert min(sorted(map(cached, said))[1:]) >= 32


def test_the_next_start_takes_the_beginning_from_its_file_and_answers_the_same(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    plain = ask(gguf, "Oui", "Non")
    first = ask(gguf, "Oui", "Non", prefix=str(kept))
    assert kept.is_file()
    second = ask(gguf, "Oui", "Non", prefix=str(kept))
    assert cached(second[0]) >= 32
    assert [one.content for one in plain] == [one.content for one in first] == [one.content for one in second]


@pytest.mark.parametrize("harm", ["cut", "bytes", "other"])
def test_a_damaged_file_is_computed_anew(gguf: pillm.ModelFile, tmp_path: Path, harm: str) -> None:
    kept = tmp_path / "kept"
    plain = ask(gguf, "Oui", "Non", prefix=str(kept))
    data = bytearray(kept.read_bytes())
    if harm == "bytes":
        data[-100:] = os.urandom(100)
    kept.write_bytes(data[:-7] if harm == "cut" else b"something else" if harm == "other" else data)
    again = ask(gguf, "Oui", "Non", prefix=str(kept))
    assert cached(again[0]) == 0
    assert [one.content for one in plain] == [one.content for one in again]
    assert (kept.read_bytes() == b"something else") == (harm == "other")


def test_auto_keeps_beginnings_in_the_users_cache(
    gguf: pillm.ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ask(gguf, "Oui", "Non", prefix="auto")
    assert len(list(tmp_path.rglob("*.state"))) == 1
    assert cached(ask(gguf, "Encore", prefix="auto")[0]) >= 32


def test_a_place_where_no_file_can_be_is_refused(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "kept"):
        with pytest.raises(pillm.ConfigError, match=r"prefix: .* cannot be a file"):
            LocalRunner(prefix=str(path)).open(gguf)


def test_after_a_crash_no_kept_file_is_given_to_llama_cpp_again(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    with LocalRunner(max_tokens=2, prefix=str(tmp_path / "kept")).open(gguf) as session:
        assert isinstance(session, LocalSession)
        os.kill(session.worker_pid, 11)
        ((_, result),) = session.answer(iter([request()]))
        assert isinstance(result, pillm.Answer)
        assert session._prefix is None
