"""What can be wrong with a checkpoint before anything is converted; each check takes milliseconds."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.converting.pretokenizer import derive
from pillm_llamacpp.converting.spm import vocabulary_size

CONVERT_REMEDY = "pip install './plugins/pillm-llamacpp[convert]'"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the checks learnt of a checkpoint."""

    pre: str | None
    """llama.cpp's name for how its tokenizer splits text, where tokenizer.json tells."""
    stops: tuple[str, ...]
    """The texts of the tokens that end an answer."""
    ends: tuple[int, ...] = ()
    """The ids that generation_config.json names for that."""
    specials: dict[str, int] = field(default_factory=dict)
    """The special tokens of the training, by text."""
    encoder: bool = False
    """Whether it turns texts into embeddings, and answers nothing."""


def check_tools() -> None:
    """Raise MissingDependency where the converter's own dependencies are not installed."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise pillm.MissingDependency(
            f"the converter needs {' and '.join(missing)}. Nothing was written. Get it with: {CONVERT_REMEDY}"
        )


def check(checkpoint: pillm.Checkpoint, tree: Path, quants: tuple[str, ...] = ()) -> Findings:
    """Return what the converter must be told.

    Raises DataError, naming the folder, where the model cannot be exported, UnsafeError where reading it would run
    code, ConfigError where a quantisation is not for it.
    """
    folder, config = checkpoint.path, checkpoint.config
    settings = settings_of(folder)
    pillm.check_own_code(folder)
    check_architecture(folder, config, tree)
    check_weights(folder)
    check_experts(folder, config, quants)
    encoder = pillm.is_encoder(config)
    if not encoder:
        check_template(folder, settings)
    tokenizer = read_json(folder / "tokenizer.json")
    if tokenizer is not None:
        check_texts(tokenizer, folder)
    contract = checkpoint.contract
    specials = contract.get("special_tokens")
    texts = texts_of(tokenizer or {})
    ends = () if encoder else ends_of(folder)
    check_ends(folder, ends, texts, vocabulary_size(config))
    named = tuple(texts[number][0] for number in ends if number in texts)
    stops = () if encoder else tuple(dict.fromkeys((*stops_of(contract, settings), *named)))
    return Findings(
        derive(tokenizer) if tokenizer else None,
        stops,
        ends=ends,
        specials=specials if isinstance(specials, dict) else {},
        encoder=encoder,
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json; an empty object where there is none."""
    return read_json(folder / "tokenizer_config.json") or {}


def check_architecture(folder: Path, config: dict[str, Any], tree: Path) -> None:
    """Raise DataError where the pinned converter does not know the architecture."""
    architectures, known = config.get("architectures") or [], architectures_of(tree)
    if not any(name in known for name in architectures):
        raise pillm.DataError(
            f"{folder}: llama.cpp does not know the architecture {', '.join(map(str, architectures)) or '(none named)'} "
            f"of config.json. It knows {len(known)}, among them Llama, Qwen2, Qwen3, Gemma and SmolLM3."
        )


def check_experts(folder: Path, config: dict[str, Any], quants: tuple[str, ...]) -> None:
    """Raise ConfigError where a quantisation is for experts, and the model has none."""
    if "MXFP4_MOE" in quants and not _has_experts(config):
        raise pillm.ConfigError(
            f"MXFP4_MOE packs the experts of a model, and {folder} has none: the file would be a larger Q8_0. "
            "Ask for Q4_K_M or IQ4_NL instead."
        )


def check_template(folder: Path, settings: dict[str, Any]) -> None:
    """Raise DataError where a device could not be told how to ask the model."""
    files = ("chat_template.jinja", "chat_template.json")
    if not settings.get("chat_template") and not any((folder / name).is_file() for name in files):
        raise pillm.DataError(
            f"{folder} has no chat template (chat_template.jinja); a device could not be told how to ask the model. "
            "Train it with one, or add the template of its base model."
        )


def check_ends(folder: Path, ends: tuple[int, ...], texts: dict[int, tuple[str, bool]], size: int | None = None) -> None:
    """Raise DataError where generation_config.json ends answers at a token that is none, or that is ordinary text.

    `size` is how many rows the embedding has.
    """
    for number in ends if texts else ():
        text, added = texts.get(number, (None, False))
        beyond = size is not None and number >= size
        if not added or beyond:
            what = "no token of tokenizer.json" if text is None else f"the ordinary text {text!r}"
            what = f"{text!r}, which has no row in the embedding" if added and beyond else what
            raise pillm.DataError(
                f"{folder}/generation_config.json ends an answer at token {number}, which is {what}; llama.cpp could not do "
                "the same. Name the token that ends an answer in eos_token_id there."
            )


def check_weights(folder: Path) -> None:
    """Raise UnsafeError where the weights are a pickle, DataError where there are none."""
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise pillm.UnsafeError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code when it is read; pillm never does "
            "that. Save the model as *.safetensors and export again."
        )
    raise pillm.DataError(f"{folder} holds no weights (*.safetensors).")


@cache
def architectures_of(tree: Path) -> frozenset[str]:
    """Return the architectures that the converter knows, read from its source without running it."""
    module = ast.parse((tree / "conversion" / "__init__.py").read_text("utf-8"))
    for node in module.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "TEXT_MODEL_MAP":
            return frozenset(ast.literal_eval(node.value)) if node.value else frozenset()
    return frozenset()


def _has_experts(config: dict[str, Any]) -> bool:
    settings = {**config, **(config.get("text_config") or {})}
    return any("experts" in name and isinstance(value, int) and value > 1 for name, value in settings.items())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return an object from a file; None where there is no file. Raises DataError where it cannot be read."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise pillm.DataError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else None


def check_texts(tokenizer: dict[str, Any], folder: Path) -> None:
    """Refuse two ids of one text: llama.cpp aborts on them."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    ids: dict[str, int] = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    for token in tokenizer.get("added_tokens") or []:
        if ids.setdefault(token["content"], token["id"]) != token["id"]:
            raise pillm.DataError(
                f"{folder}/tokenizer.json: tokens {ids[token['content']]} and {token['id']} have the same text "
                f"{token['content']!r}; llama.cpp would abort on it. Train the tokenizer again without the repeated token."
            )


def texts_of(tokenizer: dict[str, Any]) -> dict[int, tuple[str, bool]]:
    """Return each token's text, and whether it was added to the vocabulary as one that text is never split into, by id."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    plain = vocabulary.items() if isinstance(vocabulary, dict) else ()
    added = tokenizer.get("added_tokens") or []
    return {
        **{number: (text, False) for text, number in plain},
        **{token["id"]: (token["content"], True) for token in added},
    }


def ends_of(folder: Path) -> tuple[int, ...]:
    """Return the ids at which generation_config.json ends an answer."""
    told = (read_json(folder / "generation_config.json") or {}).get("eos_token_id")
    return tuple(number for number in (told if isinstance(told, list) else [told]) if isinstance(number, int))


def stops_of(contract: dict[str, Any], settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts of the tokens that end an answer: the contract's, else the tokenizer's end token."""
    stops = contract.get("stop_tokens")
    if stops:
        return tuple(map(str, stops))
    eos = settings.get("eos_token")
    text = eos.get("content") if isinstance(eos, dict) else eos
    return (str(text),) if text else ()
