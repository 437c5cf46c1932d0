"""What cannot be trained is refused by `pillm train` in one sentence that says what, where and what to do; nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pillm

if TYPE_CHECKING:
    from tests.conftest import Cli

GOOD = [{"id": f"r{number}", "user": f"say {number}", "assistant": f"said {number}"} for number in range(4)]
CALL = {"type": "function", "function": {"name": "zap_it", "arguments": '{"level": 41}'}}
TOOLS = [
    {"id": "t", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]}
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a base of the user's own, to be spoilt."""
    folder = pillm.model_folder("nano-base")
    assert folder is not None
    return Path(shutil.copytree(folder, tmp_path / "base"))


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def without_template(base: Path) -> None:
    for name in ("chat_template.jinja", "chat_template.json"):
        (base / name).unlink(missing_ok=True)
    path = base / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("chat_template", None)
    path.write_text(json.dumps(settings), "utf-8")


def plain_template(base: Path) -> None:
    """Give the base a template that writes no tool calls."""
    template = (
        "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + (m['content'] or '') + '<|im_end|>\\n' -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    )
    (base / "chat_template.jinja").write_text(template, "utf-8")


def only_adapter(base: Path) -> None:
    for path in base.glob("*.safetensors"):
        path.unlink()
    (base / "adapter_config.json").write_text('{"base_model_name_or_path": "nano-base"}', "utf-8")


def without_weights(base: Path) -> None:
    for path in base.glob("*.safetensors"):
        path.unlink()


def as_it_is(_: Path) -> None:
    return None


CASES: dict[str, tuple[list[Any], Callable[[Path], None], list[str], str]] = {
    "no rows": ([], as_it_is, [], r"rows\.jsonl holds no rows, so there is nothing to train on\. Label some first"),
    "no assistant turn": (
        [{"id": "x", "user": "a"}], as_it_is, [], r"rows\.jsonl:1: the row has no assistant message\. Label it first",
    ),
    "an empty answer": (
        [*GOOD, {"id": "x", "user": "a", "assistant": " "}], as_it_is, [], r"rows\.jsonl:5: the row has no assistant message",
    ),
    "no chat template": (GOOD, without_template, [], r"base has no chat template.*Choose an instruct model, or put the right"),
    "no weights": (GOOD, without_weights, [], r"base holds no weights as \*\.safetensors.*Fetch the model again"),
    "an adapter as base": (GOOD, only_adapter, [], r"base holds an adapter and no weights.*or its base nano-base"),
    "tools that the template cannot write": (
        TOOLS, plain_template, [], r"no row is left to train on \(1 rows: the template does not write the answer's tool",
    ),
    "all rows too long": (GOOD, as_it_is, ["max_length=8"], r"4 rows: longer than max_length=8 tokens\)\. Raise max_length"),
    "a number that is none": (GOOD, as_it_is, ["learning_rate=fast"], r"trainer 'lora' option 'learning_rate': .*not 'fast'"),
    "a layer that is none": (GOOD, as_it_is, ["target_modules=no_such"], r"target_modules .*no_such"),
    "a GGUF file as base": (GOOD, as_it_is, ["base=model.gguf"], r"model\.gguf is a file.*GGUF file is made to answer"),
    "a base that is nowhere": (GOOD, as_it_is, ["base=./nowhere"], r"no model '\./nowhere'.*Check the path"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_sentence_and_leaves_all_as_it_was(cli: Cli, base: Path, tmp_path: Path, case: str) -> None:
    rows, spoil, options, words = CASES[case]
    path = written(tmp_path / "rows.jsonl", rows)
    spoil(base)
    before = {file: file.read_bytes() for file in (*base.rglob("*"), path) if file.is_file()}
    asked = [word for option in (f"base={base}", *options) for word in ("-o", option)]
    done = cli("train", path, "--trainer", "lora", *asked, "--out", tmp_path / "out")
    assert done.code == 2, done.err
    error = done.err.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert re.search(words, error), error
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
    assert {file: file.read_bytes() for file in before} == before


def test_what_is_not_utf8_is_named_with_its_byte(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"id": "x", "user": "caf\xe9", "assistant": "b"}\n')
    done = cli("train", tmp_path / "rows.jsonl", "--trainer", "lora", "-o", "base=nano-base", "--out", tmp_path / "out")
    assert done.code == 2
    assert "rows.jsonl:1: byte 24 is not UTF-8. Save the file as UTF-8." in done.err


def test_a_folder_that_cannot_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", GOOD)
    (tmp_path / "closed").mkdir(mode=0o555)
    out = Path("/proc/out") if os.access(tmp_path / "closed", os.W_OK) else tmp_path / "closed" / "out"  # root may write
    done = cli("train", path, "--trainer", "lora", "-o", "base=nano-base", "--out", out)
    assert done.code == 1
    assert str(out.parent) in done.err
    assert "hoose another" in done.err
    assert "Traceback" not in done.err


def test_a_training_with_other_options_begins_beside_the_interrupted_one_and_loses_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillm_hf.training.loop import Loop

    path, words = written(tmp_path / "rows.jsonl", GOOD), ["-o", "base=nano-base", "-o", "per_device_train_batch_size=1"]
    words += ["-o", "save_steps=1", "-o", "num_train_epochs=1"]
    with monkeypatch.context() as patch:
        step, taken = Loop.step, []

        def stopped(self: Loop, group: Any) -> None:
            taken.append(1)
            if len(taken) == 3:
                raise KeyboardInterrupt
            step(self, group)

        patch.setattr(Loop, "step", stopped)
        assert cli("train", path, "--trainer", "lora", *words, "--out", tmp_path / "out").code == 130
    (kept,) = tmp_path.glob(".out.*/.checkpoints/step-2")
    before = {file: file.read_bytes() for file in kept.iterdir()}
    refused = cli("train", path, "--trainer", "lora", *words, "-o", "max_length=8", "--out", tmp_path / "out")
    assert refused.code == 2
    assert {file: file.read_bytes() for file in kept.iterdir()} == before
    done = cli("train", path, "--trainer", "lora", *words, "--out", tmp_path / "out")
    assert "going on at step 2 of 4" in done.err
    assert done.code == 0
