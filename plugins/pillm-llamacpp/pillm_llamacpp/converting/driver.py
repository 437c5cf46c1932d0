"""The child process that needs torch and transformers: it re-encodes the probes, asks the model, then converts it.

Run as `python -P driver.py JOB.json`; it imports nothing of this package. Its standard output carries one JSON
object per line: {"progress": done, "total": bytes}, {"note": text} or {"error": kind, "message": text}.
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

FITS_IN_32_BIT = 4_000_000_000
"""Bytes of weights up to which they are widened: 16-bit sums break ties at random."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refused(Exception):
    """The model cannot be converted, for a reason that a person can act on."""

    kind = "backend"


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
        encode(job)
        if job["outfile"]:
            predict(job)
            convert(job, events)
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

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Then:
            return cls.combine(date.fromisoformat(day), datetime.now(tz).time(), tz)

    chat_template_utils.datetime = Then


def encode(job: dict[str, Any]) -> None:
    """Write, for each probe, its text and ids as the reloaded tokenizer makes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    with Path(job["probes"]).open(encoding="utf-8") as probes, Path(job["encoded"]).open("w", encoding="utf-8") as encoded:
        for line in probes:
            found = render(tokenizer, json.loads(line), job["stops"])
            ids = tokenizer(found["text"], add_special_tokens=False)["input_ids"]
            encoded.write(json.dumps({**found, "ids": ids}) + "\n")


def predict(job: dict[str, Any]) -> None:
    """Write, for the first probes, their ids and the most likely next token at each position."""
    import torch
    from transformers import AutoModelForCausalLM

    with Path(job["encoded"]).open(encoding="utf-8") as file:
        rows = [json.loads(line)["ids"][: job["tokens"]] for _, line in zip(range(job["rows"]), file, strict=False)]
    rows = [ids for ids in rows if ids]
    weights = sum(path.stat().st_size for path in Path(job["model"]).glob("*.safetensors"))
    kind = torch.float32 if weights < FITS_IN_32_BIT else "auto"
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=kind, local_files_only=True).eval()
    with Path(job["predicted"]).open("w", encoding="utf-8") as file, torch.inference_mode():
        for ids in rows:
            chosen = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].argmax(-1).tolist()
            file.write(json.dumps([ids, chosen]) + "\n")


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


def convert(job: dict[str, Any], events: Events) -> None:
    """Run the converter with the pre-tokenizer question answered and pillm's keys added."""
    _answer_pre(import_module("conversion.base").TextModel, job)
    _add_keys(import_module("gguf").GGUFWriter, job)
    _show_progress(events)
    sys.argv = [
        "convert_hf_to_gguf.py", job["model"], "--outfile", job["outfile"], "--outtype", job["outtype"],
        "--metadata", job["metadata"],
    ]  # fmt: skip
    try:
        runpy.run_path(str(Path(job["tree"]) / "convert_hf_to_gguf.py"), run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise Refused(f"the converter stopped with status {stop.code}") from stop


def _answer_pre(model: Any, job: dict[str, Any]) -> None:
    """Use the pre-tokenizer that was chosen; else what the converter knows by hash; else what was derived."""
    known = model.get_vocab_base_pre

    def answer(self: Any, tokenizer: Any) -> str:
        if job["pre"]:
            return str(job["pre"])
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            if job["derived"]:
                return str(job["derived"])
            raise Refused(
                "llama.cpp knows no pre-tokenizer that splits text as this tokenizer.json does; "
                "if you know better, name one with the exporter's option `pre` (the parity gate will judge it)"
            ) from None

    model.get_vocab_base_pre = answer


def _add_keys(writer: Any, job: dict[str, Any]) -> None:
    """Add pillm's keys and the stop tokens just before the header is written; refuse a token text that repeats."""
    write = writer.write_header_to_file

    def with_keys(self: Any, *args: Any, **kwargs: Any) -> None:
        keys = self.kv_data[0]
        tokens = [text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")
                  for text in keys["tokenizer.ggml.tokens"].value]  # fmt: skip
        ids: dict[str, int] = {}
        for index, text in enumerate(tokens):
            if ids.setdefault(text, index) != index:
                raise Refused(f"tokens {ids[text]} and {index} have the same text {text!r}; llama.cpp would abort on it")
        _add_stops(self, ids, job["stops"])
        if "tokenizer.ggml.add_bos_token" not in keys:
            self.add_add_bos_token(False)
        for name, value in job["keys"].items():
            keys.pop(name, None)  # what the converter guessed from the folder's name
            add = self.add_array if isinstance(value, list) else self.add_uint32 if isinstance(value, int) else self.add_string
            add(name, value)
        write(self, *args, **kwargs)

    writer.write_header_to_file = with_keys


def _add_stops(writer: Any, ids: dict[str, int], stops: list[str]) -> None:
    """Make the contract's stop tokens end a generation: the first is eot and, unless it is eos, the second is eom."""
    eos = writer.kv_data[0].get("tokenizer.ggml.eos_token_id")
    known = [ids[text] for text in stops if text in ids]
    if not known:
        return
    writer.add_eot_token_id(known[0])
    others = [stop for stop in known[1:] if eos is None or stop != eos.value]
    if others:
        writer.add_eom_token_id(others[0])


def _show_progress(events: Events) -> None:
    class Bar:
        def __init__(self, *_: object, total: int | None = None, **__: object) -> None:
            self.done, self.total = 0, total

        def update(self, by: int) -> None:
            self.done += by
            events.send(progress=self.done, total=self.total)

    # the converter takes it from there when it writes the tensors
    import_module("tqdm").tqdm = Bar  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
