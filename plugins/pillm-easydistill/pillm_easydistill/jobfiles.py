"""Write what version 1 reads: its JSON configuration, its rows and template, and a base that every transformers can load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    from pillm_easydistill.options import EasyDistillOptions
    from pillm_easydistill.student import Base, Lesson

TEMPLATE = "{{ message['content'] }}{% if add_output %}{{ message['output'] }}{% endif %}"
"""EasyDistill renders {instruction, output} with a template of its own; the student's has rendered both already."""

_LINKED = (
    "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "vocab.txt",
    "merges.txt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of one attempt, all in one folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """Return the configuration."""
        return self.folder / "config.json"

    @property
    def labelled(self) -> Path:
        """Return the rows."""
        return self.folder / "labelled.json"

    @property
    def template(self) -> Path:
        """Return the template."""
        return self.folder / "template.jinja"

    @property
    def logits(self) -> Path:
        """Return the teacher's probabilities."""
        return self.folder / "logits.jsonl"

    @property
    def student(self) -> Path:
        """Return the base as EasyDistill gets it."""
        return self.folder / "student"

    @property
    def teacher(self) -> Path:
        """Return the folder that says how large the teacher's vocabulary is."""
        return self.folder / "teacher"

    @property
    def result(self) -> Path:
        """Return where EasyDistill writes its checkpoint."""
        return self.folder / "result"

    @property
    def log(self) -> Path:
        """Return the child's output."""
        return self.folder / "log.txt"


def write_rows(taught: Sequence[Lesson], files: JobFiles, *, completion_only: bool) -> None:
    """Write the rows and the template.

    Beside its texts each row has its token ids, which TRL takes as they are instead of encoding the text with a second
    start token, and the mask of its answer.
    """
    rows = []
    for lesson in taught:
        row: dict[str, Any] = {"instruction": lesson.asked, "output": lesson.said, "input_ids": lesson.row.ids}
        if completion_only:
            row["completion_mask"] = [int(lesson.row.start <= at < lesson.row.end) for at in range(len(lesson.row.ids))]
        rows.append(row)
    _write(files.labelled, rows)
    files.template.write_text(TEMPLATE, "utf-8")


def write_config(options: EasyDistillOptions, files: JobFiles, *, seed: int, longest: int, gpus: int) -> None:
    """Write the configuration; version 1 has no defaults, so every key it reads by name is there."""
    _write(files.config, {
        "job_type": options.job_type,
        "dataset": {
            "instruction_path": str(files.labelled),
            "labeled_path": str(files.labelled),
            "logits_path": str(files.logits),
            "template": str(files.template),
            "seed": seed,
        },
        "models": {"teacher": str(files.teacher), "student": str(files.student)},
        "distillation": {"kd_ratio": options.kd_ratio, "max_seq_length": longest, "distillation_type": "forward_kld"},
        "training": {**options.training, **_settled(options, files, seed, gpus)},
    })  # fmt: skip


def _settled(options: EasyDistillOptions, files: JobFiles, seed: int, gpus: int) -> dict[str, Any]:
    """Return the training block as far as pillm decides it."""
    copied = (
        "learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length",
        "warmup_ratio", "lr_scheduler_type", "weight_decay", "max_grad_norm", "bf16", "completion_only_loss",
        "gradient_checkpointing", "logging_steps",
    )  # fmt: skip
    return {
        **{name: getattr(options, name) for name in copied},
        "output_dir": str(files.result),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": gpus == 0,
        "save_strategy": "no",  # version 1 cannot resume, so what it would save on the way is never used
        "logging_nan_inf_filter": False,  # or a loss that is no number would be logged as a good one
        "disable_tqdm": True,
        "report_to": "none",  # TRL's own default reports to whatever service is installed
    }


def write_accelerate_config(path: Path, gpus: int) -> None:
    """Write accelerate's configuration: one process per GPU, data parallel; without a GPU one on the CPU."""
    import yaml

    settings = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if gpus > 1 else "NO",
        "num_machines": 1,
        "num_processes": max(1, gpus),
        "machine_rank": 0,
        "mixed_precision": "no",  # the training block decides that
        "use_cpu": gpus == 0,
    }
    path.write_text(yaml.safe_dump(settings), "utf-8")


def stage_base(base: Base, files: JobFiles) -> None:
    """Lay the base out for EasyDistill: its weights and tokenizer linked, its settings in the words of transformers 4 too.

    Version 1 loads with `trust_remote_code`, so nothing that could name code is there. generation_config.json is left
    out: a sampling temperature in it keeps transformers 4 from saving the student.
    """
    files.student.mkdir()
    for path in (*base.folder.glob("*.safetensors*"), *(base.folder / name for name in _LINKED)):
        if path.is_file():
            (files.student / path.name).symlink_to(path.resolve())
    _write(files.student / "config.json", _older_config(pillm.Checkpoint(path=base.folder).config, base.folder))
    given = base.folder / "tokenizer_config.json"
    settings = json.loads(given.read_text("utf-8")) if given.is_file() else {}
    _write(files.student / "tokenizer_config.json", _older_tokenizer(settings))


def _older_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a model's configuration with the names that transformers 4 reads beside those of transformers 5."""
    config = {name: value for name, value in config.items() if name not in ("auto_map", "_name_or_path")}
    config |= {"dtype": "float32", "torch_dtype": "float32"}  # what is learnt in 16 bit drowns in its rounding
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" in config:
        return config
    if any(isinstance(value, dict) for value in rope.values()):
        raise pillm.DataError(
            f"{folder}: each kind of layer has rotary frequencies of its own (rope_parameters in config.json), which the "
            "transformers of EasyDistill 1 does not know. Choose another base or another trainer."
        )
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    config |= {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    return config | ({"rope_scaling": scaling} if scaling.get("rope_type", "default") != "default" else {})


def _older_tokenizer(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a tokenizer's settings as transformers 4 reads them."""
    settings = {name: value for name, value in settings.items() if name != "auto_map"}
    if settings.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizer", None):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = settings.get("extra_special_tokens")
    if isinstance(extra, list):
        settings.pop("extra_special_tokens")
        settings["additional_special_tokens"] = [*settings.get("additional_special_tokens", []), *extra]
    return settings


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
