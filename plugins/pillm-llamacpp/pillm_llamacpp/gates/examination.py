"""What can be told of a model before it is trained or exported: `pillm doctor MODEL`, and a run before it asks its teacher."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.converting.pretokenizer import derive
from pillm_llamacpp.converting.spm import spaces_of, vocabulary_size
from pillm_llamacpp.gates import checks
from pillm_llamacpp.gates.adapters import examine_adapter, look_at_files
from pillm_llamacpp.gates.rehearsing import try_tokenizer
from pillm_llamacpp.gates.room import examine_memory
from pillm_llamacpp.quantizing.fallbacks import better
from pillm_llamacpp.writing.adapter import is_adapter
from pillm_llamacpp.writing.sources import Laid, laid_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pillm_llamacpp.options import GGUFOptions

_FULL = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(slots=True, kw_only=True)
class Patient:
    """A model folder that is examined for an exporter's options."""

    folder: Path
    config: dict[str, Any]
    """Of what will be exported."""
    quants: tuple[str, ...]
    pre: str | None
    tree: Path | None
    """The converter's source, where it is installed."""
    whole: bool = True
    """Whether the weights are those that will be exported; a base's are not."""
    contract: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] | None = None

    @property
    def encoder(self) -> bool:
        """Say whether it turns texts into embeddings."""
        return pillm.is_encoder(self.config)


def examine_folder(
    exporter: GGUFOptions, checkpoint: pillm.Checkpoint, *, student: dict[str, Any] | None, prove: bool
) -> Iterator[pillm.Finding]:
    """Yield what was found of a model's or an adapter's folder, by the steps of an export.

    `student` is the config.json of what will be trained of it.
    """
    tree = None
    try:
        tree = source.require()
        checks.check_tools()
    except pillm.MissingDependency as error:
        if student is None:  # else the run asks after its tools itself
            yield pillm.Finding("converter", "missing", str(error))
    if student is not None:
        yield from _examined(exporter, Laid(checkpoint), student, tree)
        return
    files = look_at_files(checkpoint.path)
    if files.wrong:
        yield files  # and nothing else reads them
        return
    if is_adapter(checkpoint.path):
        about = examine_adapter(checkpoint.path, alone=exporter.adapter == "only")
        yield about
        if about.wrong:
            return
    found = []
    try:
        with laid_out(checkpoint, exporter.base) as laid:
            found = list(_examined(exporter, laid, None, tree))
            if not any(one.wrong for one in found):
                found.append(examine_memory(laid.checkpoint, exporter.logits))
            if prove and tree is not None and not any(one.wrong for one in found):
                told = checks.check(laid.checkpoint, tree, exporter.quants)
                found.append(try_tokenizer(laid.checkpoint, told, pre=exporter.pre, tree=tree))
            found = [replace(one, detail=laid.told(one.detail), remedy=laid.told(one.remedy)) for one in found]
    except pillm.PillmError as error:
        absent = isinstance(error, (pillm.MissingDependency, pillm.Unavailable))
        found = [pillm.Finding("base", "missing" if absent else "broken", str(error))]
    yield from [files, *found]


def _examined(exporter: GGUFOptions, laid: Laid, student: dict[str, Any] | None, tree: Path | None) -> Iterator[pillm.Finding]:
    folder = laid.checkpoint.path
    try:
        patient = Patient(
            folder=folder, config=student or laid.checkpoint.config, quants=exporter.quants, pre=exporter.pre, tree=tree,
            whole=student is None, contract=laid.checkpoint.contract, settings=checks.settings_of(folder),
            tokenizer=checks.read_json(folder / "tokenizer.json"),
        )  # fmt: skip
    except pillm.PillmError as error:
        yield pillm.Finding("folder", "broken", str(error))
    else:
        yield from examine(patient)


def examine(patient: Patient) -> Iterator[pillm.Finding]:
    """Yield what was found, one thing after the other; what raises is a finding too."""
    looks: dict[str, Callable[[Patient], Iterator[pillm.Finding]]] = {
        "code": _code, "architecture": _architecture, "weights": _weights, "output head": _head, "tokenizer": _tokenizer,
        "vocabulary": _vocabulary, "special tokens": _stops, "chat template": _template, "quantisations": _quants,
    }  # fmt: skip
    for name, look in looks.items():
        try:
            yield from look(patient)
        except pillm.PillmError as error:
            yield pillm.Finding(name, "broken", str(error))


def _code(patient: Patient) -> Iterator[pillm.Finding]:
    pillm.check_own_code(patient.folder)
    yield pillm.Finding("code", "ok", "no Python code of the folder is needed, and none is run")


def _architecture(patient: Patient) -> Iterator[pillm.Finding]:
    if patient.tree is not None:
        checks.check_architecture(patient.folder, patient.config, patient.tree)
        kind = "an encoder: its gates are tokens and embeddings" if patient.encoder else "known to llama.cpp"
        yield pillm.Finding("architecture", "ok", f"{', '.join(patient.config.get('architectures') or [])}, {kind}")


def _weights(patient: Patient) -> Iterator[pillm.Finding]:
    if not patient.whole:
        return
    checks.check_weights(patient.folder)
    kinds = Counter(one.dtype for one in pillm.stored_tensors(patient.folder).values())
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    if odd := sorted(set(kinds) - _FULL):
        said = f"tensors are stored as {told}; {', '.join(odd)} is no full precision"
        yield pillm.Finding("weights", "broken", said, "Export the model that it was made of: a quantised one loses twice.")
    else:
        yield pillm.Finding("weights", "ok", f"safetensors: {told}")


def _head(patient: Patient) -> Iterator[pillm.Finding]:
    if not patient.whole or patient.encoder:
        return
    names = pillm.stored_tensors(patient.folder)
    head, tied = "lm_head.weight" in names, bool(patient.config.get("tie_word_embeddings", False))
    if names and not head and not tied and "tie_word_embeddings" in patient.config:
        said = "config.json says that the head is not the embedding, and there is no lm_head.weight"
        remedy = "If the head is the embedding, set tie_word_embeddings to true in config.json; else save the model again."
        yield pillm.Finding("output head", "broken", said, remedy)
    elif head and tied:
        said = "the head is tied to the embedding, and a lm_head.weight is stored beside it"
        remedy = "It is left out of the file; the gate of the logits says if it was another."
        yield pillm.Finding("output head", "note", said, remedy)
    else:
        yield pillm.Finding("output head", "ok", "tied to the embedding" if tied or not head else "a tensor of its own")


def _tokenizer(patient: Patient) -> Iterator[pillm.Finding]:
    if patient.tokenizer is None:
        said = "there is no tokenizer.json; the converter reads other files, and nothing can be told of them"
        yield pillm.Finding("tokenizer", "note", said, "Save it as transformers saves a fast tokenizer.")
        return
    checks.check_texts(patient.tokenizer, patient.folder)
    kind = (patient.tokenizer.get("model") or {}).get("type")
    yield pillm.Finding("tokenizer", "ok", f"{kind}, every text has one id")
    if found := patient.pre or derive(patient.tokenizer):
        yield pillm.Finding("pre-tokenizer", "ok", f"splits text as llama.cpp's {found!r}")
    else:
        said = "how it splits text has no name here; llama.cpp knows most published tokenizers by a hash"
        remedy = "If it does not know this one: -o pre=NAME, or train a tokenizer that splits as GPT-2's."
        yield pillm.Finding("pre-tokenizer", "note", said, remedy)


def _vocabulary(patient: Patient) -> Iterator[pillm.Finding]:
    texts = checks.texts_of(patient.tokenizer or {})
    rows = vocabulary_size(patient.config)
    if not texts or rows is None:
        return
    if patient.whole and (table := _embedding(pillm.stored_tensors(patient.folder))) is not None:
        rows = min(rows, table)
    without = sorted(number for number in texts if number >= rows)
    if without and patient.whole:
        named = ", ".join(f"{texts[number][0]!r} ({number})" for number in without[:3])
        said = f"{len(without)} tokens have no row in the embedding of {rows}: {named}"
        if spaces_of(patient.tokenizer or {}) is not None and all(texts[number][1] for number in without):
            yield pillm.Finding("vocabulary", "note", said, "They are left out of the file: no text of this model holds them.")
            return
        remedy = "Resize the model's embedding to its tokenizer (resize_token_embeddings), and train the new rows."
        yield pillm.Finding("vocabulary", "broken", said, remedy)
        return
    spare = rows - len(texts)
    yield pillm.Finding("vocabulary", "ok", f"{len(texts)} tokens" + (f", {spare} rows without one" if spare > 0 else ""))


def _embedding(names: dict[str, pillm.StoredTensor]) -> int | None:
    found = [one.shape[0] for name, one in names.items()
             if name.endswith(("embed_tokens.weight", "word_embeddings.weight")) and len(one.shape) == 2]  # fmt: skip
    return found[0] if found else None


def _stops(patient: Patient) -> Iterator[pillm.Finding]:
    if patient.encoder or patient.tokenizer is None:
        return
    texts = checks.texts_of(patient.tokenizer)
    ends = checks.ends_of(patient.folder)
    checks.check_ends(patient.folder, ends, texts, vocabulary_size(patient.config))
    stops = dict.fromkeys((*checks.stops_of(patient.contract, patient.settings), *(texts[number][0] for number in ends)))
    if not stops:
        raise pillm.DataError(
            "nothing ends an answer: neither tokenizer_config.json (eos_token) nor generation_config.json (eos_token_id) names "
            "a token. Set one."
        )
    added = {text for text, own in texts.values() if own}
    if split := [text for text in stops if text not in added]:
        raise pillm.DataError(
            f"the stop token {split[0]!r} is no token of its own in tokenizer.json, so that no answer could end with it."
        )
    yield pillm.Finding("special tokens", "ok", f"an answer ends at {', '.join(stops)}")


def _template(patient: Patient) -> Iterator[pillm.Finding]:
    if patient.encoder:
        return
    checks.check_template(patient.folder, patient.settings)
    source = _source(patient)
    if not isinstance(source, str):
        yield pillm.Finding(
            "chat template", "note", "there are several, or one that only transformers finds; the gate renders them"
        )
        return
    import jinja2

    from pillm_llamacpp.inference.chat import ChatTemplate

    names = {name: patient.settings.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    specials = {name: str(told.get("content") if isinstance(told, dict) else told) for name, told in names.items() if told}
    try:
        text = ChatTemplate(source, specials).render([{"role": "user", "content": "?"}])
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise pillm.DataError(f"the chat template does not render a question: {error}. Mend chat_template.jinja.") from error
    if "?" not in text:
        raise pillm.DataError("the chat template renders a question without its words. Mend chat_template.jinja.")
    yield pillm.Finding("chat template", "ok", f"a question is {text!r}" if len(text) < 200 else "it renders a question")


def _source(patient: Patient) -> Any:
    path = patient.folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text("utf-8")
    return patient.settings.get("chat_template")


def _quants(patient: Patient) -> Iterator[pillm.Finding]:
    checks.check_experts(patient.folder, patient.config, patient.quants)
    odd = ", ".join(f"{name} {width}" for name, width in row_lengths(patient.config).items() if width % 256)
    wrong = [quant for quant in patient.quants if better(quant)]
    if not odd or not wrong:
        yield pillm.Finding("quantisations", "ok", f"{', '.join(patient.quants)}: the rows fit their blocks")
        return
    said = f"rows are no multiple of 256 ({odd}), so {', '.join(wrong)} would partly be stored as other types"
    yield pillm.Finding("quantisations", "note", said, "; ".join(sorted({better(quant) for quant in wrong})) + ".")


def row_lengths(config: dict[str, Any]) -> dict[str, int]:
    """Return how long the rows of a model's matrices are, by the setting that says so."""
    config = config.get("text_config") or config
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not isinstance(hidden, int):
        return {}
    found = {"hidden_size": hidden, "intermediate_size": config.get("intermediate_size")}
    head = config.get("head_dim") or (hidden // heads if isinstance(heads, int) and heads else None)
    if isinstance(head, int) and isinstance(heads, int):
        found["num_attention_heads x head_dim"] = heads * head
    return {name: width for name, width in found.items() if isinstance(width, int)}
