"""The child process that needs torch and transformers: it re-encodes the probes, asks the model, then converts it.

Run as `python -P -m pillm_llamacpp.converting.driver JOB.json`; it must not import the `gguf` that is installed. Its standard
output carries one JSON object per line: {"progress": done, "total": bytes}, {"note": text} or {"error": kind, "message": text}.
"""

from __future__ import annotations

import errno
import json
import os
import runpy
import sys
import traceback
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from pillm_llamacpp.converting import hooks, predicting, spm
from pillm_llamacpp.converting.hooks import Refused

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unsafe(Refused):
    """The model would run code of its own."""

    kind = "unsafe"


class Events:
    """Writes events to the pipe that was standard output; everything that prints goes to standard error instead."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, **event: object) -> None:
        """Write one event."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def main() -> int:
    """Do the job and return the exit code."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    events = Events()
    sys.path[:0] = [job["tree"], str(Path(job["tree"]) / "gguf-py")]
    try:
        forbid_code()
        set_day(job["day"])
        splits = encode(job)
        if job["outfile"]:
            if job["rows"]:
                predicting.predict(job)
            if not job["written"]:
                convert(job, splits, events)
    except OSError as error:
        traceback.print_exc()
        # numpy reports a short write without an errno
        full = error.errno in FULL or "requested and" in str(error)
        events.send(error="storage" if full else "backend", message=str(error))
        return 1
    except Refused as error:
        events.send(error=error.kind, message=str(error))
        return 1
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent turns it into a BackendError with the log's tail
        traceback.print_exc()
        events.send(error="backend", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


def forbid_code() -> None:
    """Make transformers refuse the Python code of a model's folder, whatever the converter asks for."""
    import transformers
    from transformers import dynamic_module_utils

    def refuse(*_: Any, **__: Any) -> None:
        raise Unsafe("the model wants to run its own Python code; pillm never does that")

    # whatever way a class is asked for, the last step is one of these
    for name in ("get_class_in_module", "get_cached_module_file"):
        if hasattr(dynamic_module_utils, name):
            setattr(dynamic_module_utils, name, refuse)
    for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoProcessor", "AutoTokenizer"):
        kind = getattr(transformers, name)
        kind.from_pretrained = staticmethod(_untrusting(kind.from_pretrained))


def _untrusting(load: Any) -> Any:
    def loaded(*args: Any, **options: Any) -> Any:
        return load(*args, **{**options, "trust_remote_code": False})

    return loaded


def set_day(day: str | None) -> None:
    """Let chat templates print the day of the training, which the probes carry, instead of today."""
    if not day:
        return
    from transformers.utils import chat_template_utils

    then = date.fromisoformat(day)

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Then:
            return cls.combine(then, datetime.now(tz).time(), tz)

    vars(chat_template_utils)["datetime"] = Then


def encode(job: dict[str, Any]) -> hooks.Splits:
    """Write, for each probe, its text and ids as the reloaded tokenizer makes them, then what it makes of special tokens.

    Returns what llama.cpp must be told of how the reloaded tokenizer treats blanks.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    first = None
    with Path(job["probes"]).open(encoding="utf-8") as probes, Path(job["encoded"]).open("w", encoding="utf-8") as encoded:
        for line in probes:
            probe = json.loads(line)
            if job["encoder"]:
                found = {"text": probe["messages"][-1]["content"], "ask": False, "suffix": ""}
            else:
                found = render(tokenizer, probe, job["stops"])
            first = first or found["text"]
            ids = tokenizer(found["text"], add_special_tokens=job["encoder"])["input_ids"]
            encoded.write(json.dumps({**found, "ids": ids}) + "\n")
    size = spm.vocabulary_size(json.loads((Path(job["model"]) / "config.json").read_text("utf-8")))
    Path(job["specials"]).write_text(json.dumps(specials(tokenizer, size)), "utf-8")
    return hooks.Splits(hooks.space_before(tokenizer, first or ""), hooks.strips(tokenizer))


def specials(tokenizer: Any, size: int | None = None) -> dict[str, list[int]]:
    """Return each special token's text with its own id, then the ids that the text alone gets; none beyond the embedding."""
    held = tokenizer.added_tokens_decoder.items()
    known = {token.content: number for number, token in held if token.special and (size is None or number < size)}
    return {text: [number, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text, number in known.items()}


def render(tokenizer: Any, probe: dict[str, Any], stops: list[str]) -> dict[str, Any]:
    """Return a probe's text, whether it asks for an answer, and the stop token that a trainer put where no template does."""
    told, messages, tools = probe["text"], probe["messages"], probe["tools"] or None
    first: dict[str, Any] = {}
    # a trainer may have recorded a prompt with or without the header of the answer
    for ask in dict.fromkeys((messages[-1]["role"] != "assistant", False)):
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=ask)
        first = first or {"text": text, "ask": ask, "suffix": ""}
        if told is None:
            break
        for suffix in ("", *stops):
            if told == text + suffix:
                return {"text": told, "ask": ask, "suffix": suffix}
    return first


def convert(job: dict[str, Any], splits: hooks.Splits, events: Events) -> None:
    """Run the converter with the pre-tokenizer question answered and pillm's keys added."""
    hooks.answer_pre(import_module("conversion.base").TextModel, job)
    hooks.read_tokenizer_json(import_module("conversion.base").TextModel, import_module("conversion.phi").Phi3MiniModel)
    hooks.add_keys(import_module("gguf").GGUFWriter, job, splits)
    hooks.show_progress(events)
    sys.argv = [
        "convert_hf_to_gguf.py", job["model"], "--outfile", job["outfile"], "--outtype", job["outtype"],
        "--metadata", job["metadata"], *(["--vocab-only"] if job["vocab_only"] else []),
    ]  # fmt: skip
    try:
        runpy.run_path(str(Path(job["tree"]) / "convert_hf_to_gguf.py"), run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise Refused(f"the converter stopped with status {stop.code}") from stop


if __name__ == "__main__":
    sys.exit(main())
