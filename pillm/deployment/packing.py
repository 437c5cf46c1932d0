"""`bundle_of`: make of a run, or of one model file, what is brought to a board."""

from __future__ import annotations

import re
from pathlib import Path

from pillm.artifacts import CHOICE_FILE, CONTRACT_FILE, ModelFile
from pillm.backends import Runner
from pillm.contract import Contract
from pillm.deployment.bundle import SCHEMA_FILE, Bundle
from pillm.deployment.held import shared_schema, smoke_from_run, smoke_from_runner
from pillm.deployment.profile import GRAMMAR_FILE
from pillm.deployment.smoke import ANY, smoke_of_words
from pillm.deployment.systemturn import contract_for, system_turn
from pillm.deployment.vectors import pooling_of, vector_tests
from pillm.devices.ggufheader import read_header
from pillm.errors import ConfigError, DataError
from pillm.intake.door import check_model_file
from pillm.records import JSONObject
from pillm.report.foreignjson import read_foreign
from pillm.store import MANIFEST
from pillm.verification import verify

_QUANT = re.compile(r"[-._]((?:I?Q|T?Q)[0-9][A-Z0-9_]*|B?F16|F32|MXFP4\w*)(?=[-._]|$)", re.IGNORECASE)


def bundle_of(
    path: Path | str,
    runner: Runner | None = None,
    *,
    constrained: bool | None = None,
    smoke: str | None = None,
    answer: str | None = None,
) -> Bundle:
    """Return the bundle of a run's model file, or of a GGUF file by itself.

    A file that turns texts into vectors is served for that; its smoke tests are texts and the vectors that `runner` makes here.
    Its smoke tests are held-out rows that this very file answered in the run's evaluation; else a greeting, with the answer
    that `runner` gives to it here; `smoke` is another prompt, or `any`, and `answer` how the answer to it must begin. With
    `constrained` every answer on the board must satisfy the schema that the rows share; None: as it is there. Raises
    ConfigError where there is no file, several, one that answers nothing, or no such schema and grammar; DataError for a file
    that is not what its manifest says.
    """
    if answer is not None and (smoke is None or not answer.strip()):
        raise ConfigError(
            "an answer is expected of a prompt: say --smoke PROMPT with --smoke-answer, and let neither be empty."
        )
    file = model_file_of(Path(path))
    check_model_file(file)
    if any((folder / MANIFEST).is_file() for folder in (file.resolve().parent, file.resolve().parent.parent)):
        for problem in verify(file):
            raise DataError(f"{problem.path} {problem.reason}. What was scored is what ships: export it again.")
    quant, header = _QUANT.search(file.stem), read_header(file).metadata
    model = ModelFile.of(file, quant[1].upper() if quant else "")
    if pooling := pooling_of(file, header):
        return _encoder(model, pooling, runner, smoke, constrained=bool(constrained))
    (contract, lost), run = contract_for(file, header, _contract(file)), file.resolve().parent.parent
    schema, grammar = _form(file, run, required=bool(constrained))
    told = smoke_of_words(smoke, answer, contract) if smoke else None
    held = told or smoke_from_run(run, model, contract, constrained=True) or smoke_of_words(ANY, None, contract)
    tests = held if constrained else told or smoke_from_run(run, model, contract)
    if tests is None:  # what the file answers here is held to no grammar
        tests = smoke_from_runner(model, contract, runner) if runner else smoke_of_words(ANY, None, contract)
    turn = system_turn(file, header, contract, schema)
    return Bundle(
        model=model,
        contract=contract,
        smoke=tests,
        held=held,
        schema=schema,
        constrained=constrained,
        grammar=grammar,
        system=turn.message,
        template=turn.template,
        notes=(*lost, *turn.notes),
    )


def _form(file: Path, run: Path, *, required: bool) -> tuple[JSONObject | None, str | None]:
    """Return the schema that a run's rows share, and the grammar that the exporter made of it."""
    beside, grammar = read_foreign(file.with_name(SCHEMA_FILE)), file.with_name(GRAMMAR_FILE)
    schema = beside if isinstance(beside, dict) else shared_schema(run)
    if required and schema is None:
        raise ConfigError(f"{run} has no held-out rows that share one JSON Schema, so answers cannot be held to one.")
    if required and not grammar.is_file():  # the server's own reading of a schema passes over what it does not know
        raise ConfigError(
            f"{grammar} is missing, so answers cannot be held to the rows' schema. Export the model again with exporter "
            "'gguf': it writes the grammar, or says why the schema has none. Nothing was sent."
        )
    return schema, grammar.read_text("utf-8") if grammar.is_file() and schema is not None else None


def model_file_of(path: Path) -> Path:
    """Return the model file that a path stands for: a GGUF file, or the one that a run chose or made.

    Raises ConfigError where a run has several and none was chosen, or where there is none.
    """
    if path.is_file():
        return path
    folder = path / "export" if (path / "export").is_dir() else path
    files = sorted(folder.glob("*.gguf"))
    names = (_told(folder / CHOICE_FILE, "picked"), _told(path / "report.json", "pick", "model"))
    chosen = [file for name in names for file in files if name in (file.name, file.stem)] if len(files) > 1 else files
    if chosen:
        return chosen[0]
    if not files:
        raise ConfigError(f"{path} is neither a GGUF file nor a run with one in its folder export. Export the model first.")
    raise ConfigError(f"{path} holds {len(files)} model files and chose none. Name one: --model {files[0]}")


def _encoder(model: ModelFile, pooling: str, runner: Runner | None, smoke: str | None, *, constrained: bool) -> Bundle:
    """Return the bundle of a file that turns texts into vectors."""
    if constrained:
        raise ConfigError(f"{model.path} makes vectors: it has no answers that a grammar could hold. Nothing was sent.")
    tests = vector_tests(model, None if smoke == ANY else runner, None if smoke == ANY else smoke)
    return Bundle(model=model, contract=Contract(), smoke=tests, constrained=False, pooling=pooling)


def _told(path: Path, *keys: str) -> str | None:
    """Return a text of a JSON file, or None."""
    found = read_foreign(path)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


def _contract(model: Path) -> Contract | None:
    path = model.parent / CONTRACT_FILE
    return Contract.read(path, "Export the model again.") if path.is_file() else None
