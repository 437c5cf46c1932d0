"""`pillm plan`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillm.contract import Contract
from tests.test_planner import tiny_gguf

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
    for word in ("Q4_K_M", "pi4-4gb: fits", "weights", "together", "decode", "predicted", "Sources", "trust 3 of 3"):
        assert word in done.out


def test_json_is_a_list_of_plans_whatever_their_number(cli: Cli, fakes: Path, small: Path) -> None:
    whole = cli("plan", small, "--device", "pi4-4gb", "--context", "512", "--json").json
    assert set(whole) == {"plans"}
    (found,) = whole["plans"]
    assert (found["fits"], found["basis"], found["context"]) == (True, "predicted", 512)
    assert found["tg_tps"] > 0
    assert found["sources"]["decode"]["trust"] == 3
    assert (found["memory"]["repacked"], found["basis_note"]) == (0, "")


def test_alternatives_are_told_as_figures(cli: Cli, fakes: Path, small: Path) -> None:
    (found,) = cli("plan", small, "--device", "pi4-2gb", "--quant", "F16", "--json").json["plans"]
    assert not found["fits"]
    smaller = found["alternatives"][0]
    assert (smaller["quant"], smaller["device"], smaller["fits"], smaller["extrapolated"]) == ("Q4_K_M", "pi4-2gb", True, False)
    assert (smaller["tight"], found["tight"], found["reclaimable"]) == (False, False, 0)
    assert smaller["bytes"] < found["bytes"]
    assert min(smaller["tg_tps"], smaller["pp_tps"], smaller["context"]) > 0


def test_a_model_that_fits_tightly_is_said_to_and_ends_well(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("plan", small, "--device", "pi5-8gb", "--ram", "1600", "--quant", "Q4_0")
    done = cli(*words)
    assert done.code == 0
    assert "on pi5-8gb: fits tightly" in done.out
    assert "Fits Raspberry Pi 5 with 1,600 MiB tightly: " in done.out
    assert "of them given back where memory is short" in done.out
    (found,) = cli(*words, "--json").json["plans"]
    assert (found["fits"], found["tight"], found["reclaimable"]) == (True, True, found["memory"]["repacked"])
    rows = cli("plan", small, "--device", "pi5-8gb", "--ram", "1600", "--table").out
    assert {line.split()[-1] for line in rows.splitlines() if line.startswith(("Q4_0", "Q8_0", "Q3_K_M", "F16"))} >= {
        "tight",
        "yes",
    }


def test_a_window_is_planned_whole_where_asked(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {**CONFIG, "model_type": "gemma3_text", "sliding_window": 512, "num_hidden_layers": 12, "hidden_size": 2048}
        ),
        "utf-8",
    )
    words = ("plan", path, "--device", "pi4-8gb", "--context", "8192", "--json")
    cut, whole = (cli(*words, *more).json["plans"][0]["memory"]["kv_cache"] for more in ((), ("--swa-full",)))
    assert cut < whole / 3


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


def test_a_table_has_a_row_for_each_quantisation_and_ends_well_where_one_fits(cli: Cli, fakes: Path, small: Path) -> None:
    done = cli("plan", small, "--device", "pi4-2gb", "--table", "--prompt-tokens", "300", "--prefix-tokens", "200")
    assert done.code == 0
    for word in ("quant", "TTFT", "saved", "Q8_0", "Q4_0", "yes", "no", "trust", "3/3", "2 published"):
        assert word in done.out
    found = cli("plan", small, "--device", "pi4-2gb", "--table", "--json").json
    assert {one["quant"] for one in found["plans"]} >= {"F16", "Q8_0", "Q4_0"}


def test_several_models_and_devices_are_planned_at_once_and_drawn(cli: Cli, fakes: Path, small: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(small.read_text())
    done = cli("plan", small, other, "--device", "pi4-4gb", "--device", "pi5-8gb", "--plot", tmp_path / "x.svg", "--json")
    assert len(done.json["plans"]) == 4
    assert (tmp_path / "x.svg").read_text().startswith("<svg ")


def test_the_card_tells_the_times_of_a_request(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("--device", "pi4-4gb", "--prompt-tokens", "600", "--answer-tokens", "60", "--prefix-tokens", "500")
    done = cli("plan", small, *words)
    assert "first token" in done.out
    assert "the first 500 tokens saved" in done.out
    (found,) = cli("plan", small, *words, "--json").json["plans"]
    assert found["lengths"] == {"prompt": 600, "answer": 60, "prefix": 500, "estimated": False}
    assert found["ttft_saved_s"] < found["ttft_s"] < found["answer_s"]


def test_the_lengths_of_a_request_may_be_those_of_a_file_of_rows(cli: Cli, fakes: Path, small: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    written = [{"id": str(i), "user": "u" * (40 if i else 8000), **({"assistant": "a" * 80} if i else {})} for i in range(9)]
    rows.write_text("".join(json.dumps(one) + "\n" for one in written))
    words = ("plan", small, "--device", "pi4-2gb", "--prompts", rows)
    (found,) = cli(*words, "--json").json["plans"]
    assert found["lengths"] == {"prompt": 19, "answer": 20, "prefix": 0, "estimated": True}
    assert found["context"] == 2009, "the longest row fits"
    assert "(reckoned from characters)" in cli(*words).out
    (found,) = cli(*words, "--answer-tokens", "7", "--json").json["plans"]
    assert found["lengths"]["answer"] == 7
    (tmp_path / "contract.json").write_text(json.dumps(Contract(system="s" * 400).to_json()))
    (found,) = cli(*words, "--json").json["plans"]
    assert found["lengths"]["prompt"] == 124, "as the rows are sent under the model's contract"
    assert cli(*words, "--prompt-tokens", "9").code == 2
    rows.write_text(json.dumps({"id": "1", "user": "u"}) + "\n")
    assert "no row has an answer: say --answer-tokens too" in cli(*words).err


def test_a_length_that_is_assumed_is_said_to_be(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("plan", small, "--device", "pi4-4gb")
    assert "A prompt of 128 tokens is assumed" in cli(*words, "--answer-tokens", "9").err
    assert "An answer of 64 tokens is assumed" in cli(*words, "--prompt-tokens", "9").err
    assert "assumed" not in cli(*words, "--prompt-tokens", "9", "--answer-tokens", "9").err


def test_a_recipe_is_told_the_command_that_plans_it(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("device: pi4-4gb")
    done = cli("plan", tmp_path / "recipe.yaml", "--device", "pi4-4gb")
    assert done.code == 2
    assert f"pillm run {tmp_path}/recipe.yaml --dry-run" in done.err


def test_this_machine_can_be_named(cli: Cli, fakes: Path, small: Path) -> None:
    assert cli("plan", small, "--device", "this-machine", "--json").json["plans"][0]["fits"]


def test_a_picture_in_a_form_that_is_not_drawn_is_refused_before_anything(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    done = cli("plan", "no/such", "--device", "pi4-4gb", "--plot", tmp_path / "x.png")
    assert done.code == 2
    assert "plans are drawn as .html or .svg. Call it x.svg" in done.err
    assert not (tmp_path / "x.png").exists()


def test_the_context_holds_the_request_or_is_refused(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("--device", "pi4-2gb", "--quant", "Q4_0", "--prompt-tokens", "1500", "--answer-tokens", "60")
    (found,) = cli("plan", small, *words, "--json").json["plans"]
    assert found["context"] == 1560
    done = cli("plan", small, *words, "--context", "1024")
    assert done.code == 2
    assert "cannot hold a prompt of 1500 and an answer of 60" in done.err


def test_another_computer_s_memory_is_not_taken_for_the_devices(
    cli: Cli, fakes: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    done = cli("plan", small, "--device", "generic-arm64")
    assert done.code == 2
    assert "must be aarch64, and this one is x86_64. Say it: --ram MIB" in done.err
    (found,) = cli("plan", small, "--device", "generic-arm64", "--ram", "2000", "--json").json["plans"]
    assert found["memory"]["available"] == 2000 * 2**20


def test_weights_are_planned_to_be_held_once_where_that_is_asked_for(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("--device", "pi5-4gb", "--quant", "Q8_0", "--json")
    twice, once = cli("plan", small, *words), cli("plan", small, *words, "--no-repack")
    assert (twice.json["plans"][0]["memory"]["repacked"] > 1e9, once.json["plans"][0]["memory"]["repacked"]) == (True, 0)
    assert "tg_tps" not in once.json["plans"][0], "nobody measured it"


def test_several_answers_at_once_take_a_cache_each(cli: Cli, fakes: Path, small: Path) -> None:
    words = ("plan", small, "--device", "pi4-4gb", "--quant", "Q4_K_M")
    (one,), (four,) = (cli(*words, "--parallel", count, "--json").json["plans"] for count in ("1", "4"))
    assert four["memory"]["kv_cache"] == 4 * one["memory"]["kv_cache"]
    assert (four["parallel"], four["tg_tps"], four["context"]) == (4, one["tg_tps"], one["context"])
    done = cli(*words, "--parallel", "4")
    assert "tokens of context for each of 4 answers at once" in done.out
    assert "the speeds are of one alone" in done.out
    assert cli(*words, "--parallel", "0").code == 2


def test_the_files_of_a_run_or_an_export_are_all_planned(cli: Cli, fakes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "export"
    folder.mkdir(parents=True)
    for name in ("a-F16.gguf", "b-F16.gguf"):
        (folder / name).write_bytes(tiny_gguf())
    for place in (folder, tmp_path / "run"):
        found = cli("plan", place, "--device", "pi4-4gb", "--json").json["plans"]
        assert [one["model"] for one in found] == ["a-F16.gguf", "b-F16.gguf"]


@pytest.mark.parametrize("words", [["bench"], ["chat"], ["embed", "texts.jsonl"]])
def test_elsewhere_such_a_folder_is_told_its_files(cli: Cli, fakes: Path, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "a-F16.gguf").write_bytes(tiny_gguf())
    done = cli(words[0], tmp_path, *words[1:])
    assert done.code == 2
    assert f"is a folder of model files, not one model. Name the one that you mean: {tmp_path}/a-F16.gguf" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a MODEL and a --device"),
        (["--device", "pi4-4gb", "--runner", "echo"], "say --calibrate"),
        (["--device", "pi4-4gb", "--prefix-tokens", "9"], "--prompt-tokens"),
        (["--device", "pi4-4gb", "--prompt-tokens", "5", "--prefix-tokens", "9"], "are not possible"),
        (["--device", "pi4-4gb", "--table", "--quant", "Q4_0"], "leave one of them out"),
    ],
)
def test_words_that_do_not_go_together_are_refused(cli: Cli, fakes: Path, small: Path, words: list[str], said: str) -> None:
    done = cli("plan", small, *words)
    assert done.code == 2
    assert said in done.err


def test_a_plan_of_a_config_loads_no_torch_and_no_plugin(small: Path) -> None:
    code = (
        "import sys; sys.argv = ['pillm', 'plan', sys.argv[1], '--device', 'pi4-4gb', '--json']\n"
        "import pillm.cli\ntry: pillm.cli.main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["plans"][0]["fits"]
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"torch", "numpy", "gguf", "llama_cpp", "transformers", "pillm_hf", "pillm_llamacpp"}
