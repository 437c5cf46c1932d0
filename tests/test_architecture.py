"""The laws that keep the house in order: who may import whom, what stays light, what is complete, what stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import pillm

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pillm"
ORDER = """
    errors machines intake records reasoning replies yamlfile prices files database batchlog seen jsonl tablefile tokenizers
    templates encoders taskfile likeness extraction wording origins preferences rowformats rows rowfiles performance agreement
    rendered divergence plans artifacts devices forecasts examination contract tokencounter lengths progress distributions
    capabilities remote placement backend backends batches hubs kinds provenance options hookspecs judging tournament metrics
    tasks validation repair choosing plugins planning models tablesources answers store amending cards verification publishing
    stages expansion tracing gates prospects recipefile recipe runrows runspeeds subjects emulation probing report results
    runfolder outlook pipeline rehearsal deployment cli
""".split()  # noqa: SIM905 - a row reads better than a column
"""A module imports only from its left; inside a package the order is free. `testing` stands outside and may import all."""
ONLY_IN = {"click": ("pillm.cli",), "pluggy": ("pillm.hookspecs", "pillm.plugins"), "rich": ("pillm.cli",)}
HEAVY = ("torch", "transformers", "llama_cpp", "openai", "numpy", "matplotlib", "peft", "gguf")
MAX_FILE, MAX_FUNCTION = 300, 50
NO_TEST_OF_ITS_NAME = {
    "pillm.__main__": "two lines, run by the tests of the command line",
    "pillm.stages": "a docstring",
    "pillm.cards": "a docstring",
    "pillm.deployment": "a docstring",
    "pillm.remote": "one import",
    "pillm.performance": "a docstring",
    "pillm.intake": "a docstring; test_intake.py holds the corpus against the whole door",
    "pillm.cli": "one import",
    "pillm.cli.formats": "test_schemas.py",
}
WRITTEN = sorted({*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/*/**/*.py")})
"""What stays small: the package, the plugins, and the tests of both."""
VAGUE = ("utils", "util", "common", "helpers", "manager", "misc")


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PACKAGES = [PACKAGE, *sorted(ROOT.glob("plugins/*/pillm_*"))]
MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            module = str(node.module)
            yield from [module] if "." in module else [f"{module}.{alias.name}" for alias in node.names]


def part_of(module: str) -> str:
    """Return the part of the house that a module stands in."""
    return module.split(".")[1]


HOUSE = [name for name in MODULES if "." in name and name.split(".")[1] not in ("testing", "__main__")]


@pytest.mark.parametrize("module", HOUSE)
def test_a_module_imports_only_from_its_left(module: str) -> None:
    here = part_of(module)
    for imported in imports_of(MODULES[module]):
        if not imported.startswith("pillm.") or imported == "pillm.__version__":
            continue
        there = part_of(imported)
        if here == "cli" and there in pillm.__all__:
            continue  # a public name
        assert there in ORDER, f"{module} imports {imported}, which has no place in ORDER"
        assert there == here or ORDER.index(there) < ORDER.index(here), f"{module} imports {imported} from its right"


def rooms_of(package: Path) -> dict[str, set[str]]:
    """Return the packages and modules right below a package, and which of the others each imports."""
    rooms = {path.stem: path for path in sorted(package.iterdir()) if path.suffix == ".py" or (path / "__init__.py").is_file()}
    del rooms["__init__"]  # the door: it names what stands behind it
    graph: dict[str, set[str]] = {}
    for room, path in rooms.items():
        files = [path] if path.is_file() else path.rglob("*.py")
        names = {name for file in files for name in imports_of(file) if name.startswith(f"{package.name}.")}
        graph[room] = {part_of(name) for name in names} & (rooms.keys() - {room})
    return graph


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_rooms_import_each_other_in_a_circle(package: Path) -> None:
    """Imports inside functions and those for types alone count: two rooms that need each other are one."""
    graph = rooms_of(package)
    assert any(graph.values()) or len(graph) < 3, "nothing was read"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{package.name}: {' <- '.join(error.args[1])}")


def test_stages_take_objects_and_do_not_know_that_plugins_exist() -> None:
    for module, path in MODULES.items():
        if module.startswith("pillm.stages"):
            assert "pillm.plugins" not in set(imports_of(path)), module


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_its_place(library: str) -> None:
    for module, path in MODULES.items():
        if not module.startswith(ONLY_IN[library]):
            found = {name.partition(".")[0] for name in imports_of(path)}
            assert library not in found, f"{module} imports {library}"


def test_the_core_imports_nothing_heavy() -> None:
    for module, path in MODULES.items():
        heavy = {name.partition(".")[0] for name in imports_of(path)} & set(HEAVY)
        assert not heavy, f"{module} imports {heavy}"


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"]])
def test_a_first_look_loads_no_plugin_and_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; sys.argv = ['pillm', *{words}]\n"
    code += "try:\n    import pillm\n    if sys.argv[1:]: import pillm.cli; pillm.cli.main()\n"
    code += "except SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "pillm" in loaded
    unwanted = {"pluggy", "pydantic", "rich", "yaml", "jsonschema", "sqlite3", "pillm_hf", "pillm_nano", *HEAVY}
    assert not loaded & unwanted, f"{words} loads {loaded & unwanted}"


def test_the_public_names_are_the_ones_that_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(pillm.__all__) == sorted(seen)
    for name, home in seen.items():
        value = getattr(pillm, name)
        assert getattr(sys.modules[str(home)], name) is value


def test_no_module_hides_behind_a_public_function() -> None:
    public = {name for name in pillm.__all__ if name.islower()}
    for module in MODULES:
        assert module.rpartition(".")[2] not in public, f"{module} has the name of a public function"


def test_no_module_has_a_vague_name() -> None:
    for module in MODULES:
        assert not set(module.rpartition(".")[2].split("_")) & set(VAGUE), module


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("pillm.testing")])
def test_each_module_has_a_test_file_of_its_name(module: str) -> None:
    package, _, stem = module.removeprefix("pillm").removeprefix(".").rpartition(".")
    if not stem:
        return  # pillm itself: this file
    stem = stem.removesuffix("_command").strip("_")
    wanted = [f"test_{stem}.py"] if not package else [f"test_{package}_{stem}.py", f"test_{stem}.py"]
    found = [name for name in wanted if (ROOT / "tests" / name).is_file()]
    assert found or module in NO_TEST_OF_ITS_NAME, f"{module} has no test file: {' or '.join(wanted)}"


def test_files_and_functions_stay_small() -> None:
    for path in WRITTEN:
        text, name = path.read_text("utf-8"), path.relative_to(ROOT)
        assert len(text.splitlines()) <= MAX_FILE, f"{name} is too long; a part of test_X.py may be test_X_what.py"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= MAX_FUNCTION, f"{name}: {node.name} has {length} lines"


def test_guards_are_raised_never_asserted() -> None:
    for module, path in MODULES.items():
        found = [node.lineno for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Assert)]
        assert not found, f"{module} asserts at {found}: python -O would remove the guard"


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/*/pillm_*/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_first_party_plugins_use_the_door_of_strangers(path: Path) -> None:
    """Public names alone are imported, of pillm as of another plugin that one builds on."""
    own = path.relative_to(ROOT / "plugins").parts[1]
    for name in imports_of(path):
        home, _, rest = name.partition(".")
        if rest and home != own and (home == "pillm" or home.startswith("pillm_")):
            public = {*import_module(home).__all__, "__version__"}
            assert rest in public, f"{path.name} imports {name}, which is not public"


def test_the_version_stands_once() -> None:
    assert pillm.__version__.count(".") == 2
    assert "version" not in (ROOT / "pyproject.toml").read_text("utf-8").split("[project]")[1].split("[project.")[0].replace(
        'dynamic = ["version"]', ""
    ).replace("requires-python", "")
