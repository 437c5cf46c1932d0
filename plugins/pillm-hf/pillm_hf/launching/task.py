"""What a training's processes are told, as a file in their working folder: options, rows, contract and seed as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pillm
from pillm_hf.models.hub import Source
from pillm_hf.options.finetuning import FineTuning

if TYPE_CHECKING:
    from pillm_hf.training.fitting import Work

_TASK = "task.json"


def write(work: Work, data: pillm.TrainingData, folder: Path) -> None:
    """Write what `read` makes the same work of."""
    distribution, options = type(work.options).distribution(), work.options.options()
    source = {"folder": work.source.folder, "repository": work.source.repository, "commit": work.source.commit}
    told = {
        "trainer": f"{distribution}:{options['use']}" if distribution else options["use"],
        "options": {name: value for name, value in options.items() if name != "use"},
        "source": source,
        "folder": work.folder,
        "out": work.out,
        "train": data.train.path,
        "validation": data.validation.path,
        "contract": data.contract.to_json(),
        "seed": work.seed,
        "facts": work.facts,
    }
    (folder / _TASK).write_text(json.dumps(told, ensure_ascii=False, default=_absolute), "utf-8")


def _absolute(value: object) -> str:
    if isinstance(value, Path):
        return str(value.resolve())
    raise TypeError(f"{type(value).__name__} cannot be told to other processes")


def read(folder: Path) -> Work:
    """Return the work that a process takes part in; its rows are encoded anew, as they were before."""
    from pillm_hf.models.precision import log
    from pillm_hf.rows.opening import load_chat
    from pillm_hf.rows.text import encode
    from pillm_hf.rows.tokencache import opened
    from pillm_hf.training.fitting import Work

    told = json.loads((folder / _TASK).read_text("utf-8"))
    options = cast(FineTuning, pillm.trainer(told["trainer"], **told["options"]))
    contract, chat = pillm.Contract.from_json(told["contract"]), load_chat(Path(told["folder"]))
    source = told["source"] | {"folder": Path(told["source"]["folder"]) if told["source"]["folder"] else None}
    encoded = {}
    for side in ("train", "validation"):
        rows = pillm.Rows(Path(told[side]))
        with opened(chat, len(rows) if options.token_cache else 0, log.warning) as cache:
            encoded[side] = encode(rows, contract, chat, options.max_length, cache)
    return Work(
        options=options,
        source=Source(**source),
        folder=Path(told["folder"]),
        chat=chat,
        train=encoded["train"],
        validation=encoded["validation"],
        seed=told["seed"],
        out=Path(told["out"]),
        facts=told["facts"],
    )
