"""The one rule about models that bring Python code: it is never run, and a model that needs it is refused.

Some published models name code (`auto_map`) although transformers has their architecture itself, Phi-3 and Phi-4 among them.
There the code is left out; what the model computes is that of transformers, which the gates compare a file with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pillm.errors import DataError, UnsafeError

FILES: Final = ("config.json", "tokenizer_config.json")
NATIVE: Final = frozenset("""
    afmoe albert apertus arcee bamba bart bert bert-generation big_bird biogpt bitnet bloom camembert codegen cohere
    cohere2 ctrl cwm dbrx deberta deberta-v2 deepseek_v2 deepseek_v3 diffllama distilbert doge dots1 electra ernie
    ernie4_5 ernie4_5_moe eurobert exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo gemma gemma2 gemma3
    gemma3_text gemma3n gemma3n_text gemma4 gemma4_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj
    granite granitemoe granitemoehybrid granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe internlm3 jais2 jamba
    jetmoe lfm2 lfm2_moe llama llama4 llama4_text mamba mamba2 marian mbart megatron-bert minicpm3 minimax minimax_m2
    ministral ministral3 mistral mixtral modernbert modernbert-decoder mpnet mpt nanochat nemotron nemotron_h nomic_bert
    olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5
    qwen3_5_text qwen3_moe qwen3_next recurrent_gemma rembert roberta roberta-prelayernorm roformer rwkv seed_oss
    smollm3 stablelm starcoder2 vaultgemma xglm xlm-roberta xlm-roberta-xl xlnet xlstm zamba zamba2
""".split())  # noqa: SIM905 - a row reads better than a column  # fmt: skip
"""Model types of text models that transformers has itself; a test of pillm-hf holds them against its own table."""


def asked_code(said: Any, file: str, model_type: str) -> str | None:
    """Return the place in a configuration file that asks for code to be run, such as `vision_config.auto_map`, or None.

    `model_type` is that of the folder's config.json. At the top of a file `auto_map` is let pass where transformers has the
    model itself, unless it names the code of another repository or, in tokenizer_config.json, a tokenizer: what text a token
    stands for is nobody's guess.
    """
    for place, key, value in settings_in(said):
        if key == "trust_remote_code" and value not in (False, None):
            return f"{place}{key}"
        if key == "auto_map" and value and (place or not _needless(value, file, model_type)):
            return f"{place}{key}"
    return None


def check_own_code(folder: Path) -> None:
    """Raise UnsafeError where a model's folder asks for code of its own to be run; DataError where a file is no JSON."""
    model_type = ""
    for name in FILES:
        said = _read(folder / name)
        if name == FILES[0] and isinstance(said, dict):
            model_type = str(said.get("model_type"))
        if place := asked_code(said, name, model_type):
            raise UnsafeError(
                f"{folder} wants to run its own Python code ({place} in {name}); pillm never does that. Choose a model of an "
                "architecture that transformers has itself, with a tokenizer.json."
            )


def settings_in(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield every key of a document with the place where it stands, however deep, without recursion."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                yield place, key, item
                waiting.append((f"{place}{key}.", item))
        elif isinstance(value, list):
            waiting += [(f"{place}{number}.", item) for number, item in enumerate(value)]


def _needless(value: Any, file: str, model_type: str) -> bool:
    """Say whether an auto_map names only classes of its own repository, of which transformers has others."""
    if model_type not in NATIVE or file not in FILES or not isinstance(value, dict):
        return False
    if file == FILES[1] and value.get("AutoTokenizer"):
        return False
    flat = [each for one in value.values() for each in (one if isinstance(one, list) else [one])]
    return all(each is None or (isinstance(each, str) and "--" not in each) for each in flat)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch or save the model again.") from error
