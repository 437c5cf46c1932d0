"""A fault put into one stage on purpose is found, and blamed on that stage: on a trained model, with real files."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.artifacts import Checkpoint, Evaluation, ModelFile, SubjectKind
from pillm.contract import Contract
from pillm.metrics import Exact
from pillm.records import JSONObject, Prompt
from pillm.report import RunFacts, build_report
from pillm.report.filechecks import check_files
from pillm.stages.evaluation import Scope, evaluate

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "dataset" / "assistant" / "prompts.jsonl"
COUNT = 48

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]


@dataclass
class Bench:
    """A place to score things in, each once."""

    folder: Path
    rows: Sequence[Prompt]

    def score(self, name: str, kind: SubjectKind, model: ModelFile | Checkpoint) -> Evaluation:
        runner = "local" if isinstance(model, ModelFile) else "hf"
        limit = {"max_tokens": 96} if runner == "local" else {"max_new_tokens": 96}
        quant = model.quant if isinstance(model, ModelFile) else None
        scope = Scope(subject=name, kind=kind, quant=quant)
        with pillm.runner(runner, **limit).open(model) as session:
            return evaluate(self.rows, session, [Exact()], out=self.folder / f"{kind}-{name}", scope=scope)

    def report(self, evaluations: Sequence[Evaluation], files: Sequence[ModelFile], checkpoint: Checkpoint) -> JSONObject:
        counts = {"in": COUNT, "answered": COUNT}
        checks = check_files(files, checkpoint)
        return build_report(RunFacts(recipe="faults", rows=counts, models=files, evaluations=evaluations, checks=checks))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Take one row of each of many groups: they stand for themselves."""
    by_group = {row.group: row for row in pillm.read_prompts(ROWS)}
    rows = [row for row in by_group.values() if row.reference][:: max(1, len(by_group) // COUNT)][:COUNT]
    return Bench(tmp_path_factory.mktemp("scores"), [replace(row, split="test") for row in rows])


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a trained model as a trainer would leave it: it stands for a student that learnt everything."""
    made = pillm.model_folder("nano-teacher")
    assert made
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("trained") / "student"))
    template = (folder / "chat_template.jinja").read_text("utf-8")
    Contract().with_student(template=template, special_tokens={}, stop_tokens=("<|im_end|>",)).save(folder / "contract.json")
    return Checkpoint(path=folder)


@pytest.fixture(scope="module")
def trained(bench: Bench, student: Checkpoint) -> list[Evaluation]:
    """Return the scores of the teacher and of the checkpoint, which are the same model."""
    checkpoint = bench.score("checkpoint", "checkpoint", student)
    assert checkpoint.metrics["exact"].mean > 0.6, "a model that knows nothing can lose nothing"
    teacher = bench.score("teacher", "teacher", student)
    return [teacher, checkpoint]


def export(checkpoint: Checkpoint, out: Path, *quants: str) -> list[ModelFile]:
    return pillm.export(checkpoint, pillm.exporter("gguf", quants=list(quants), file_name="student"), out)


@pytest.fixture(scope="module")
def files(student: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[ModelFile]:
    """Return sound files of the student."""
    return export(student, tmp_path_factory.mktemp("sound") / "export", "F16", "Q8_0")


def blamed(report: JSONObject) -> list[tuple[str, str]]:
    return [(one["stage"], one["to"]) for one in report["lost"]["stages"]]


def changed(student: Checkpoint, out: Path) -> Checkpoint:
    """Return a copy that no gate can hold against the training: it carries neither contract nor probes."""
    folder = Path(shutil.copytree(student.path, out))
    (folder / "contract.json").unlink()
    return Checkpoint(path=folder)


def test_a_sound_chain_loses_nothing(
    bench: Bench, student: Checkpoint, trained: list[Evaluation], files: list[ModelFile]
) -> None:
    scored = [bench.score(file.label, "model", file) for file in files]
    report = bench.report([*trained, *scored], files, student)
    assert blamed(report) == []
    assert report["lost"]["sentence"] == "No step lost more than chance does."
    assert all(check["ok"] for check in report["checks"])
    assert {check["what"] for check in report["checks"]} == {"chat template", "tokens"}


def test_a_wrong_template_is_the_exports_fault(
    bench: Bench, student: Checkpoint, trained: list[Evaluation], tmp_path: Path
) -> None:
    wrong = changed(student, tmp_path / "wrong")
    template = wrong.path / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|im_start|>", "### "), "utf-8")
    found = export(wrong, tmp_path / "export", "F16")
    report = bench.report([*trained, bench.score(found[0].label, "model", found[0])], found, student)
    assert blamed(report) == [("export", "student-F16.gguf")]
    (lost,) = report["lost"]["stages"]
    assert "chat template: it is not the one trained with" in lost["why"]
    named = {check["what"]: check for check in report["checks"]}
    assert not named["chat template"]["ok"]
    assert named["tokens"]["ok"]
    assert lost["first"]["was"] != lost["first"]["became"]


def test_swapped_tokens_are_the_exports_fault(
    bench: Bench, student: Checkpoint, trained: list[Evaluation], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    wrong = changed(student, tmp_path / "wrong")
    path = wrong.path / "tokenizer.json"
    said: Any = json.loads(path.read_text("utf-8"))
    vocabulary = said["model"]["vocab"]
    spoken = Tokenizer.from_file(str(path))
    answers = (spoken.encode(row.reference.content).tokens for row in bench.rows if row.reference)
    counts = Counter(token for tokens in answers for token in tokens if token.strip("Ġ").isalpha())
    (one, _), (other, _) = counts.most_common(2)
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(said), "utf-8")
    found = export(wrong, tmp_path / "export", "F16")
    report = bench.report([*trained, bench.score(found[0].label, "model", found[0])], found, student)
    assert blamed(report) == [("export", "student-F16.gguf")]
    assert "2 ids have another text" in report["lost"]["stages"][0]["why"]
    assert "2 ids have another text" in report["lost"]["sentence"]


def test_a_wrong_merge_is_the_merges_fault(
    bench: Bench, student: Checkpoint, trained: list[Evaluation], tmp_path: Path
) -> None:
    adapter, right, wrong = merged(student, tmp_path)
    teacher = trained[0]
    unmerged = bench.score("adapter", "adapter", adapter)
    scored = [teacher, unmerged, bench.score("wrongly merged", "checkpoint", wrong)]
    assert [stage for stage, _ in blamed(bench.report(scored, [], wrong))] == ["merge"]
    scored = [teacher, unmerged, bench.score("rightly merged", "checkpoint", right)]
    assert blamed(bench.report(scored, [], right)) == []


def merged(student: Checkpoint, folder: Path) -> tuple[Checkpoint, Checkpoint, Checkpoint]:
    """Return the student as a base and an adapter, as the two merged, and as they are merged without the adapter's scale."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_pretrained(student.path, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=32, target_modules=["down_proj", "o_proj"], task_type="CAUSAL_LM")
    base = AutoModelForCausalLM.from_pretrained(student.path, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        model = get_peft_model(base, config)
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
                down.normal_(std=0.1)
                up.normal_(std=0.05)
                module.base_layer.weight -= 4 * up @ down  # lora_alpha / r: base and adapter are the student together
                assert name
    out = {part: folder / part for part in ("base", "adapter", "right", "wrong")}
    tokenizer = [path for path in student.path.iterdir() if path.suffix in (".json", ".jinja") and path.name != "config.json"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(out["adapter"])
    plain = model.unload()
    plain.save_pretrained(out["base"])
    whole.save_pretrained(out["right"])
    with torch.no_grad():
        for (_, right), (_, left) in zip(whole.named_parameters(), plain.named_parameters(), strict=True):
            right.copy_(left + (right - left) / 4)  # W + BA in place of W + (alpha / r) BA
    whole.save_pretrained(out["wrong"])
    for part in ("base", "right", "wrong"):
        for path in tokenizer:
            shutil.copyfile(path, out[part] / path.name)
    settings = json.loads((out["adapter"] / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(out["base"])
    (out["adapter"] / "adapter_config.json").write_text(json.dumps(settings))
    return Checkpoint(path=out["adapter"]), Checkpoint(path=out["right"]), Checkpoint(path=out["wrong"])


def test_a_bad_quantisation_of_one_tensor_is_the_quantisations_fault(
    bench: Bench, student: Checkpoint, trained: list[Evaluation], files: list[ModelFile], tmp_path: Path
) -> None:
    from gguf import GGUFReader

    bad = Path(shutil.copyfile(files[1].path, tmp_path / "student-Q8_0.gguf"))
    reader = GGUFReader(bad, "r+")
    tensor = next(one for one in reader.tensors if one.name == "blk.1.ffn_down.weight")
    tensor.data[:] = tensor.data[::-1].copy()  # its rows in the wrong order
    tensor.data.flush()
    found = [files[0], ModelFile.of(bad, "Q8_0")]
    scored = [bench.score(f"{file.quant} of the bad tensor", "model", file) for file in found]
    named = [replace(one, subject=file.label) for one, file in zip(scored, found, strict=True)]
    report = bench.report([*trained, *named], found, student)
    assert blamed(report) == [("quantisation", "student-Q8_0.gguf")]
    assert "in the quantisation (student-Q8_0.gguf" in report["lost"]["sentence"]
