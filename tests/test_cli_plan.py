"""`pillm plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "intermediate_size": 5632,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write the shape of a 1.1 B model."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIG, "hidden_size": 2048, "num_hidden_layers": 22}), "utf-8")
    return path


def test_the_card_says_fit_memory_and_speed(cli: Cli, fakes: Path, small: Path) -> None:
    done = cli("plan", small, "--device", "pi4-4gb", "--quant", "Q4_K_M")
    assert done.code == 0
    for word in ("Q4_K_M", "pi4-4gb: fits", "weights", "together", "decode", "predicted", "Source"):
        assert word in done.out


def test_json_is_the_plan(cli: Cli, fakes: Path, small: Path) -> None:
    found = cli("plan", small, "--device", "pi4-4gb", "--context", "512", "--json").json
    assert (found["fits"], found["basis"], found["context"]) == (True, "predicted", 512)
    assert found["tg_tps"] > 0


def test_a_model_that_does_not_fit_ends_with_3_and_says_what_would(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIG, "hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672}), "utf-8")
    done = cli("plan", path, "--device", "pi4-2gb")
    assert done.code == 3
    assert "does not fit" in done.out


@pytest.mark.parametrize(("words", "said"), [(["--device", "pi44gb"], "Did you mean 'pi4-4gb'?"), (["--quant", "Q4"], "Q4")])
def test_an_unknown_device_or_quantisation_is_guessed(cli: Cli, fakes: Path, small: Path, words: list[str], said: str) -> None:
    done = cli("plan", small, *(["--device", "pi4-4gb"] if "--device" not in words else []), *words)
    assert done.code == 2
    assert said in done.err


def test_a_model_that_is_not_there_is_named(cli: Cli, fakes: Path) -> None:
    assert cli("plan", "nosuch", "--device", "pi4-4gb").code == 2
