"""The system message of training is in the prompt on the board although no caller sends it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillm.contract import Contract
from pillm.deployment.asking import is_healthy, prompt_of
from pillm.deployment.systemturn import contract_for, renders_alike, system_turn, with_system
from tests.programs import llama_server

TINY = Path(__file__).parents[1] / "rpi4" / "selftest" / "tiny.gguf"
CHATML = """{%- for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
FUSSY = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}{{ messages[0]['content'] }}"
ODD = "Zeile \"eins\"\n\\n wörtlich, {{ x }} und {% raw %} %} 'ok' \U0001f600 \t.\n"
USER = {"role": "user", "content": "turn on the light"}


def turn(contract: Contract, template: str | None = CHATML, schema: Any = None, **header: str) -> Any:
    told: dict[str, Any] = {"pillm.contract": contract.hash} | ({"tokenizer.chat_template": template} if template else {})
    return system_turn(
        Path("m.gguf"), told | {name.replace("_", "."): value for name, value in header.items()}, contract, schema
    )


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bare_messages_come_out_as_if_the_message_had_been_sent_whatever_it_says(system: str) -> None:
    assert renders_alike(CHATML, with_system(CHATML, system), system) or "\r" in system


def test_what_is_put_in_is_what_the_contract_puts_before_every_row() -> None:
    found = turn(Contract(system="Be brief."))
    assert found.message == {"role": "system", "content": "Be brief."}
    assert found.template == with_system(CHATML, "Be brief.")
    assert found.notes == ()
    schema = {"type": "object"}
    told = turn(Contract(system="Be brief.", schema_in_prompt="text"), schema=schema)
    assert told.message["content"].startswith("Be brief.\n\nAnswer with one JSON value")
    assert (turn(Contract()).message, turn(Contract()).template) == (None, None)


@pytest.mark.parametrize("template", [FUSSY, None, "{{ messages[0]['content'] }}{% if"])
def test_a_template_that_takes_no_system_message_is_left_alone_and_said(template: str | None) -> None:
    found = turn(Contract(system="Be brief."), template)
    assert found.template is None
    assert "callers must send the one that it was trained under: 'Be brief.'" in found.notes[0]


def test_what_the_file_says_itself_counts() -> None:
    own = {"pillm.contract": "0123456789abcdef", "pillm.asked": "after pillm.system", "pillm.system": "Be kind."}
    contract, notes = contract_for(Path("m.gguf"), own, None)
    assert (contract.system, notes) == ("Be kind.", ())
    contract, (said,) = contract_for(Path("m.gguf"), own, Contract(system="Be brief."))
    assert contract.system == "Be kind."
    assert "belongs to another model, or was changed: what the file says itself is used" in said
    found = system_turn(Path("m.gguf"), {**own, "tokenizer.chat_template": CHATML}, Contract(system="Be brief."), None)
    assert found.template == with_system(CHATML, "Be kind.")
    plain = system_turn(Path("m.gguf"), {**own, "pillm.asked": "as it is"}, Contract(system="Be brief."), None)
    assert (plain.message, plain.notes) == (None, ())
    varied = system_turn(Path("m.gguf"), {"pillm.asked": "each row in its own way"}, Contract(), None)
    assert "callers must send theirs" in varied.notes[0]


def test_a_file_that_lost_its_contract_is_said() -> None:
    told = {"pillm.contract": "0123456789abcdef"}
    _, (said,) = contract_for(Path("m.gguf"), dict(told), None)
    assert "there is no contract.json beside m.gguf, which was trained under one (0123456789ab)" in said
    _, (said,) = contract_for(Path("m.gguf"), dict(told), Contract(system="x"))
    assert "belongs to another model" in said
    same = Contract(system="x")
    assert contract_for(Path("m.gguf"), {"pillm.contract": same.hash}, same) == (same, ())
    assert "callers must send theirs" in turn(Contract(schema_in_prompt="text")).notes[0]


def test_the_real_llama_server_makes_the_same_prompt_of_both() -> None:
    with tempfile.TemporaryDirectory(prefix="b") as name:
        folder = Path(name)
        shutil.copy(TINY, folder / "model.gguf")
        (folder / "t.jinja").write_text(with_system(CHATML, ODD), "utf-8")
        words = ["--model", "model.gguf", "--host", str(folder / "s.sock"), "--ctx-size", "256", "--threads", "1"]
        words += ["--chat-template-file", "t.jinja", "--no-warmup"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([llama_server(), *words], cwd=folder, **quiet) as server:  # type: ignore[call-overload]
            try:
                until = time.monotonic() + 30
                while not is_healthy(folder / "s.sock") and time.monotonic() < until:
                    time.sleep(0.05)
                bare = prompt_of(folder / "s.sock", [USER])
                told = prompt_of(folder / "s.sock", [{"role": "system", "content": ODD}, USER])
                other = prompt_of(folder / "s.sock", [{"role": "system", "content": "Other."}, USER])
            finally:
                server.terminate()
    assert (
        bare
        == told
        == f"<|im_start|>system\n{ODD}<|im_end|>\n<|im_start|>user\nturn on the light<|im_end|>\n<|im_start|>assistant\n"
    )
    assert other is not None
    assert ODD not in other
