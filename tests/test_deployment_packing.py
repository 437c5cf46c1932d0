"""A bundle of a run, or of one file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import pillm
from pillm.contract import Contract
from pillm.deployment.packing import bundle_of, model_file_of
from pillm.deployment.smoke import smoke_from_json, smoke_to_json
from pillm.store import Lineage, write_manifest
from pillm.testing.hostile import SOUND
from tests.test_deployment_held import row, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with one model file that was scored."""
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "m-Q8_0.gguf").write_bytes(SOUND)
    (folder / "export" / "contract.json").write_text(json.dumps(Contract(system="Be brief.").to_json()))
    return write_run(folder, "m-Q8_0.gguf", [row("a", "yes")], {"type": "object"})


def test_a_run_ships_the_file_it_scored_with_an_answer_of_it(run: Path) -> None:
    found = bundle_of(run)
    assert (found.model.path.name, found.model.quant) == ("m-Q8_0.gguf", "Q8_0")
    assert [test.expected for test in found.smoke] == ["yes"]
    assert found.contract.system == "Be brief."
    assert found.schema == {"type": "object"}
    assert bundle_of(run / "export" / "m-Q8_0.gguf") == found


def test_answers_are_held_to_the_grammar_that_was_exported_and_to_no_other_reading_of_the_schema(run: Path) -> None:
    with pytest.raises(pillm.ConfigError, match=r"grammar\.gbnf is missing, .* Export the model again"):
        bundle_of(run, constrained=True)


def test_the_grammar_beside_the_file_goes_with_it(run: Path) -> None:
    (run / "export" / "answer.schema.json").write_text('{"type": "string"}')
    (run / "export" / "grammar.gbnf").write_text('root ::= "x"')
    found = bundle_of(run, constrained=True)
    assert (found.schema, found.grammar) == ({"type": "string"}, 'root ::= "x"')
    assert found.constrained
    assert bundle_of(run).served(constrained=True, system=True, greedy=True).smoke[0].expected is None
    assert found.smoke[0].expected is None, "'yes' is no answer that the grammar allows"
    assert bundle_of(run).smoke[0].expected == "yes"


def test_a_person_s_own_prompt_takes_the_place_of_the_rows(run: Path) -> None:
    (test,) = bundle_of(run, smoke="Light?", answer="On").smoke
    assert (test.messages[-1]["content"], test.begins) == ("Light?", "On")
    assert bundle_of(run, smoke="any").smoke[0].expected is None
    for words in ({"answer": "On"}, {"smoke": "Light?", "answer": " "}):
        with pytest.raises(pillm.ConfigError, match="--smoke PROMPT with --smoke-answer"):
            bundle_of(run, **words)


def test_a_file_by_itself_has_a_greeting_that_any_answer_will_do_for(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(SOUND)
    found = bundle_of(tmp_path / "m.gguf")
    assert (found.smoke[0].expected, found.schema, found.model.quant) == (None, None, "")
    with pytest.raises(pillm.ConfigError, match="share one JSON Schema"):
        bundle_of(tmp_path / "m.gguf", constrained=True)


def test_one_test_is_asked_as_a_caller_asks(run: Path) -> None:
    found = bundle_of(run)
    served = replace(found, template="x").served(constrained=False, system=True, greedy=True)
    assert [message["role"] for message in found.smoke[0].messages] == ["system", "user"]
    assert [message["role"] for message in served.smoke[0].messages] == ["user"], "the server adds what training began with"
    assert "temperature" not in served.smoke[0].request()
    assert smoke_from_json(smoke_to_json(served.smoke)) == served.smoke
    with_chance = found.served(constrained=False, system=False, greedy=False)
    assert with_chance.smoke[0].request()["temperature"] == 0
    with pytest.raises(pillm.ConfigError, match=r"comes with none.*--free"):
        found.served(constrained=True, system=True, greedy=True)


def test_a_file_that_was_changed_since_is_refused(run: Path) -> None:
    file = run / "export" / "m-Q8_0.gguf"
    write_manifest(run / "export", Lineage(verb="export", key="k", seed=0), [file, run / "export" / "contract.json"])
    assert bundle_of(run).model.sha256
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(pillm.DataError, match="What was scored is what ships"):
        bundle_of(run)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(pillm.PillmError, match=r"m\.gguf"):
        bundle_of(tmp_path / "m.gguf")


def test_among_several_files_the_chosen_one_ships(run: Path, tmp_path: Path) -> None:
    (run / "export" / "m-F16.gguf").write_bytes(SOUND)
    with pytest.raises(pillm.ConfigError, match=r"holds 2 model files and chose none.*m-F16\.gguf"):
        model_file_of(run)
    (run / "report.json").write_text(json.dumps({"pick": {"model": "m-F16.gguf"}}))
    assert model_file_of(run).name == "m-F16.gguf"
    (run / "export" / "choice.json").write_text(json.dumps({"picked": "m-Q8_0"}))
    assert model_file_of(run).name == "m-Q8_0.gguf"
    with pytest.raises(pillm.ConfigError, match="Export the model first"):
        model_file_of(tmp_path / "nowhere")
