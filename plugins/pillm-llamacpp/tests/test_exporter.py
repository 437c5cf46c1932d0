from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.converting import conversion as convert
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates import checks
from pillm_llamacpp.gates.parity import rows_of
from pillm_llamacpp.gates.strings import HARD_STRINGS
from pillm_llamacpp.workers.client import Worker
from pillm_llamacpp_tiny import SENTENCES, TEMPLATE, swap_a_merge, train_tokenizer, write_model

import pillm
from pillm.testing import check_backend


def export(checkpoint: pillm.Checkpoint, out: Path, **options: object) -> tuple[list[pillm.ModelFile], list[pillm.Event]]:
    events: list[pillm.Event] = []
    made = GGUFExporter(**{"file_name": checkpoint.path.name, **options})
    return list(made.export(checkpoint, out, pillm.Progress("export", (events.append,)))), events


def copy(checkpoint: pillm.Checkpoint, tmp_path: Path) -> pillm.Checkpoint:
    return pillm.Checkpoint(path=Path(shutil.copytree(checkpoint.path, tmp_path / "copy")))


def test_every_quantisation_is_written_whole_and_proved(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint
) -> None:
    assert list(exported) == ["F16", "Q8_0", "Q4_K_M", "IQ4_NL"]
    for quant, model in exported.items():
        assert model.path.name == f"tiny-{quant}.gguf"
        assert pillm.ModelFile.of(model.path, quant).sha256 == model.sha256
        assert model.parity == pillm.Parity(rows=len(SENTENCES) + len(HARD_STRINGS), mismatches=0)
        assert model.agreement
        assert model.agreement.kld is not None
    assert exported["Q4_K_M"].types.keys() >= {"F32", "Q4_K"}
    assert exported["F16"].bytes > exported["Q8_0"].bytes > exported["Q4_K_M"].bytes


def test_nothing_but_the_files_and_their_tokenizer_is_left(exported: dict[str, pillm.ModelFile]) -> None:
    folder = exported["F16"].path.parent
    beside = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "card.json", "Modelfile"}
    assert {path.name for path in folder.iterdir()} == {model.path.name for model in exported.values()} | beside


def test_the_full_precision_file_computes_what_the_checkpoint_does_and_a_smaller_one_less_so(
    exported: dict[str, pillm.ModelFile],
) -> None:
    near = {quant: model.agreement for quant, model in exported.items()}
    assert near["F16"].largest < near["Q8_0"].largest < near["Q4_K_M"].largest
    assert near["F16"].places > near["Q8_0"].places > 0
    assert near["F16"].kld < near["Q8_0"].kld < near["Q4_K_M"].kld


def test_the_file_carries_the_contract_and_stops_at_the_end_of_a_turn(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint
) -> None:
    with Worker("a test") as worker:
        facts = worker.ask(op="open", path=str(exported["Q4_K_M"].path), vocab_only=True)
    assert facts["contract"] == checkpoint.contract["hash"]
    assert facts["name"].startswith("Tiny ")
    assert 2 in facts["ends"]


def test_a_tokenizer_changed_after_training_fails_the_export(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    changed = copy(checkpoint, tmp_path)
    swap_a_merge(changed.path)
    with pytest.raises(pillm.BackendError, match=r"parity: row-\d: other token ids\. At position \d+ .*reloaded tokenizer"):
        export(changed, tmp_path / "out", quants=["Q8_0"])
    assert not list((tmp_path / "out").rglob("*"))


def test_weights_that_the_conversion_changed_fail_the_export(
    exported: dict[str, pillm.ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = convert.run

    def lossy(told: convert.Conversion, *more: Any) -> convert.Converted:
        made = run(told, *more)
        shutil.copyfile(exported["F16"].path, told.outfile)
        return made

    monkeypatch.setattr(convert, "run", lossy)
    with pytest.raises(
        pillm.BackendError, match=r"logits: .* differ by \S+ at token \d+ of conversation \d+; rounding explains"
    ):
        export(write_model(tmp_path / "tiny", layers=1), tmp_path / "out", quants=["F16"])
    assert not list((tmp_path / "out").rglob("*"))


@pytest.mark.full
def test_the_logit_gate_uses_the_threads_it_is_given_and_reports_each_conversation(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    send = Worker.send
    monkeypatch.setattr(Worker, "send", lambda self, message: (sent.append(dict(message)), send(self, message))[1])
    _, events = export(checkpoint, tmp_path / "out", quants=["F16"], threads=2, assets=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tiny-F16.gguf", "card.json", "Modelfile"}
    (opened,) = [message for message in sent if message["op"] == "open" and not message.get("vocab_only")]
    assert opened["threads"] == 2
    begun = next(number for number, event in enumerate(events) if event.kind == "start" and "logits" in event.message)
    steps = [event for event in events[begun:] if event.kind == "advance" and event.unit == "conversations"]
    assert [(event.done, event.total) for event in steps] == [(number, 8) for number in range(1, 9)]


def test_a_wrong_pre_tokenizer_is_caught_by_the_gate(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(pillm.BackendError, match=r"parity: row-\d: .*llama\.cpp has "):
        export(checkpoint, tmp_path / "out", quants=["F16"], pre="qwen2")
    assert not list((tmp_path / "out").rglob("*.gguf*"))


def test_narrow_rows_are_reported_and_a_folder_without_probes_is_tried_with_hard_strings(tmp_path: Path) -> None:
    made = write_model(tmp_path / "narrow", hidden=96, probes=False, layers=1)
    # of a model by that name llama.cpp takes for granted that its special tokens take blanks along
    models, events = export(made, tmp_path / "out", quants=["Q4_K_M"], license="CC0-1.0", title="After Phi-3")
    warning = next(event.message for event in events if event.kind == "warning")
    assert "not a multiple of 256" in warning
    assert "IQ4_NL is the better 4-bit type" in warning
    assert "Q4_K" not in models[0].types
    assert "Q5_0" in models[0].types
    note = next(event.message for event in events if "no probes" in event.message)
    assert "built-in strings" in note
    assert models[0].parity
    assert models[0].parity.rows == len(rows_of(made)) >= 200
    with Worker("a test") as worker:
        assert worker.ask(op="open", path=str(models[0].path), vocab_only=True)["name"] == "After Phi 3"


def test_a_misspelt_quantisation_is_refused_at_once() -> None:
    with pytest.raises(pillm.ConfigError, match=r"'q4_k_n' is no quantisation of llama.cpp. Did you mean 'Q4_K_"):
        pillm.exporter("gguf", quants="q4_k_n")


def test_names_of_quantisations_are_forgiving() -> None:
    assert GGUFExporter(quants=["q4_k", "Q4_K_M", "iq4-nl"]).quants == ("Q4_K_M", "IQ4_NL")


def test_a_file_name_cannot_leave_the_folder() -> None:
    with pytest.raises(pillm.ConfigError, match="file_name"):
        pillm.exporter("gguf", file_name="../evil")


def test_without_the_source_the_remedy_is_named(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(pillm.MissingDependency, match="pillm-llamacpp fetch") as caught:
        export(checkpoint, tmp_path / "out")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_without_torch_the_remedy_is_named(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(pillm.MissingDependency, match=r"pip install './plugins/pillm-llamacpp\[convert\]'"):
        export(checkpoint, tmp_path / "out")


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=str(tmp_path)):
        export(pillm.Checkpoint(path=tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", '{"architectures": ["ParrotForCausalLM"]}', "does not know the architecture ParrotForCausalLM"),
        ("chat_template.jinja", None, "has no chat template"),
        ("model.safetensors", None, "holds no weights"),
        ("tokenizer.json", "{", "is not JSON"),
        ("probes.jsonl", '{"id": 1}\n', r"probes\.jsonl:1 is damaged"),
    ],
)
def test_a_spoilt_folder_is_refused_before_anything_is_converted(
    checkpoint: pillm.Checkpoint, tmp_path: Path, file: str, content: str | None, complaint: str
) -> None:
    spoilt = copy(checkpoint, tmp_path)
    if content is None:
        (spoilt.path / file).unlink()
    else:
        (spoilt.path / file).write_text(content)
    with pytest.raises(pillm.DataError, match=complaint):
        export(spoilt, tmp_path / "out")


def test_a_repeated_token_text_is_refused_before_llama_cpp_aborts_on_it(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    spoilt = copy(checkpoint, tmp_path)
    path = spoilt.path / "tokenizer.json"
    document = json.loads(path.read_text())
    document["added_tokens"].append({**document["added_tokens"][0], "id": 399, "content": "<|im_end|>"})
    path.write_text(json.dumps(document))
    with pytest.raises(pillm.PillmError, match=r"tokens 2 and 399 have the same text|added token '<.im_end.>' has the id 399"):
        export(spoilt, tmp_path / "out")


_FULL_DISK = """
import resource, sys
from datetime import datetime
from pathlib import Path
import pillm
from pillm_llamacpp.exporter import GGUFExporter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    checkpoint, out = pillm.Checkpoint(path=Path(sys.argv[1])), Path(sys.argv[2])
    list(GGUFExporter(quants=["F16", "F32"]).export(checkpoint, out, pillm.Progress()))
except pillm.StorageError as error:
    print(error)
"""


def test_a_full_disk_is_said_and_leaves_nothing_half_written(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(checkpoint.path), str(tmp_path / "out"), "300000"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "could not be written" in done.stdout, done.stderr
    assert "disk is full" in done.stdout
    assert not list((tmp_path / "out").rglob("*"))


_FULL_WHILE_QUANTISING = """
import resource, sys
from datetime import datetime
from pathlib import Path
import pillm
from pillm_llamacpp.quantizing.quantization import quantize
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
try:
    quantize(Path(sys.argv[1]), Path(sys.argv[2]), "Q8_0", threads=1, progress=pillm.Progress())
except pillm.StorageError as error:
    print(error)
"""


def test_a_disk_that_fills_while_quantising_is_said_too(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_WHILE_QUANTISING, str(exported["F16"].path), str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{target} could not be written" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_identity_names_the_source_and_not_the_threads() -> None:
    check_backend(GGUFExporter())
    identity = GGUFExporter(threads=3).identity()
    assert identity == GGUFExporter().identity()
    assert source.COMMIT in identity["source"]


@pytest.mark.full
def test_a_template_that_prints_the_date_is_proved_on_the_day_of_its_training(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    made = copy(checkpoint, tmp_path)
    (made.path / "chat_template.jinja").write_text("{{- strftime_now('%d %b %Y') -}}" + TEMPLATE)
    probe = json.loads((made.path / "probes.jsonl").read_text().splitlines()[0])
    probe["text"] = "03 Jan 2026" + probe["text"]
    probe["ids"] = train_tokenizer().encode(probe["text"]).ids
    (made.path / "probes.jsonl").write_text(json.dumps(probe) + "\n")
    trained = datetime(2026, 1, 3, 12).timestamp()
    os.utime(made.path / "probes.jsonl", (trained, trained))
    (model,), _ = export(made, tmp_path / "out", quants=["F16"])
    assert model.parity == pillm.Parity(rows=1 + len(HARD_STRINGS), mismatches=0)


@pytest.mark.full
def test_a_fallback_can_be_refused_and_the_intermediate_files_are_kept_where_the_message_says(tmp_path: Path) -> None:
    made, out = write_model(tmp_path / "narrow", hidden=96, probes=False, layers=1), tmp_path / "out"
    with pytest.raises(
        pillm.BackendError, match=r"IQ4_NL is the better .* says refuse\. The intermediate files are kept in"
    ) as caught:
        export(made, out, quants=["Q4_K_M"], fallback="refuse", keep_work=True)
    assert str(out / ".gguf-work") in str(caught.value)
    assert [path.name for path in out.iterdir()] == [".gguf-work"]
    assert {path.name for path in (out / ".gguf-work").iterdir()} >= {"narrow-F16.gguf", "convert.log", "job.json"}
