from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.gates.parity import Row
from pillm_llamacpp.ollama.modelfile import Translation, modelfile, prompts_of, system_of, translate
from pillm_llamacpp.workers.client import Worker

import pillm

RECORD = {"FROM", "TEMPLATE", "SYSTEM", "PARAMETER"}

CHOSEN = pillm.Preference("m.gguf", "it is small")


def read(text: str) -> dict[str, list[str]]:
    """Read a Modelfile as Ollama does: commands at the start of a line, values bare, quoted or triple-quoted."""
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(text):
        line = text[at:].partition("\n")[0]
        if not line or line.startswith("#"):
            at += len(line) + 1
            continue
        command, _, value = line.partition(" ")
        assert command in RECORD, line
        at += len(command) + 1
        quoted = re.compile(r'"""(.*?)"""\n', re.DOTALL).match(text, at)
        found.setdefault(command, []).append(quoted[1] if quoted else value)
        at = quoted.end() if quoted else at + len(value) + 1
    return found


def test_the_template_of_a_file_is_proved_on_every_row(gguf: pillm.ModelFile, checkpoint: pillm.Checkpoint) -> None:
    found = translate(gguf.path, prompts_of(checkpoint))
    assert found.go
    assert found.rows == 4
    said = read(modelfile(pillm.Preference(gguf.label, "it is small"), found, system=None, stops=("<|im_end|>",), context=256))
    assert said["FROM"] == [f"./{gguf.label}"]
    assert said["TEMPLATE"] == [found.go]
    assert said["PARAMETER"] == ['stop "<|im_end|>"', "num_ctx 256", "temperature 0"]


def row(*messages: tuple[str, str], **more: Any) -> Row:
    return Row("r1", [{"role": role, "content": content} for role, content in messages], **more)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(("user", "a"), ("user", "b"))], "on r1 it would say something else"),
        ([row(("user", "a"), ("system", "late"))], "on r1 it would say something else"),
        ([row(("user", "a"), tools=[{"name": "light"}])], "the rows have tools"),
    ],
)
def test_one_row_that_ollama_would_ask_otherwise_leaves_no_template(
    gguf: pillm.ModelFile, rows: list[Row], reason: str
) -> None:
    found = translate(gguf.path, rows)
    assert found.go is None
    assert reason in found.note
    text = modelfile(pillm.Preference(gguf.label, "it is small"), found, system=None, stops=(), context=8192)
    assert "TEMPLATE" not in read(text)
    assert f"# No TEMPLATE: {found.note}" in text
    assert read(text)["PARAMETER"][0] == "num_ctx 4096"


def test_a_token_that_ollama_would_put_first_by_itself_is_not_in_the_template(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Worker.ask

    def with_bos(self: Worker, **message: Any) -> dict[str, Any]:
        found = ask(self, **message)
        if message["op"] == "open":
            found["bos"] = "<|im_start|>"  # every prompt of this template begins with it
        return found

    rows = [row(("user", "a"))]
    plain = translate(gguf.path, rows).go
    monkeypatch.setattr(Worker, "ask", with_bos)
    told = translate(gguf.path, rows).go
    assert plain
    assert told
    assert "<|im_start|>user" in plain
    monkeypatch.setattr(Worker, "ask", lambda self, **m: {**ask(self, **m), **({"bos": "<s>"} if m["op"] == "open" else {})})
    refused = translate(gguf.path, rows)
    assert refused.go is None
    assert "begin the prompt with a token" in refused.note


def test_the_system_message_that_all_rows_share_is_told() -> None:
    shared = [row(("system", "Be brief."), ("user", str(number))) for number in range(3)]
    assert system_of(shared) == "Be brief."
    assert system_of([*shared, row(("user", "x"))]) is None
    text = modelfile(
        CHOSEN,
        Translation("{{ .System }}", "ok"),
        system="Be brief.\nAlways.",
        stops=(),
        context=9,
    )
    assert read(text)["SYSTEM"] == ["Be brief.\nAlways."]


@pytest.mark.parametrize("text", ['a"""b', "zero\u200bwidth", "{{ .X }}", 'ends"', "\r"])
def test_a_text_that_ollama_would_not_read_as_it_stands_is_not_written(text: str) -> None:
    assert "SYSTEM" not in modelfile(CHOSEN, Translation(None, "no"), system=text, stops=('"', "a\nb", text), context=9)
    assert "stop" not in modelfile(CHOSEN, Translation(None, "no"), system=None, stops=('"', "a\nb"), context=9)


def test_a_template_that_prints_the_day_has_no_other_form(
    checkpoint: pillm.Checkpoint, gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Worker.ask

    def dated(self: Worker, **message: Any) -> dict[str, Any]:
        found = ask(self, **message)
        if message["op"] == "encode":  # as a template with strftime_now does
            found["rows"] = [{**row, "text": f"Today is {message['day']}.\n{row['text']}"} for row in found["rows"]]
        return found

    monkeypatch.setattr(Worker, "ask", dated)
    found = translate(gguf.path, prompts_of(checkpoint), "2026-01-03")
    assert found.go is None
    assert "it prints the day" in found.note


def test_one_conversation_is_proof_of_one(checkpoint: pillm.Checkpoint, gguf: pillm.ModelFile, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    probe = json.loads((folder / "probes.jsonl").read_text().splitlines()[0])
    (folder / "probes.jsonl").write_text(json.dumps(probe) + "\n")
    assert translate(gguf.path, prompts_of(pillm.Checkpoint(path=folder))).rows == 1


def test_without_recorded_conversations_it_is_proved_on_built_in_strings_without_blanks_around_them(
    checkpoint: pillm.Checkpoint, gguf: pillm.ModelFile, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    (folder / "probes.jsonl").unlink()
    rows = prompts_of(pillm.Checkpoint(path=folder))
    assert len(rows) > 200
    assert all(row.messages[0]["content"].strip() == row.messages[0]["content"] for row in rows)
    assert translate(gguf.path, rows).rows == len(rows)
