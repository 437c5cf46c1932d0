"""Finding models: folders, installed names, and a hub pinned to one commit, asked over a real socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pillm_hf import HFTeacher, LoRA
from pillm_hf.models.hub import content_hash, locate

import pillm
from pillm.testing import FakeHub

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "modeling_evil.py": b"raise SystemExit('code from the hub ran')",
    "pytorch_model.bin": b"a pickle",
    "onnx/config.json": b"{}",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    """Give a hub with a model, a gated one, and one whose weights are a pickle."""
    with FakeHub() as running:
        running.put("acme/tiny", FILES)
        running.put("acme/shaped", FILES | {"config.json": b'{"model_type": "llama", "num_hidden_layers": 4}'})
        running.put("acme/gated", FILES, gated=True)
        running.put("acme/pickled", {"pytorch_model.bin": b"a pickle"})
        yield running


def commit_of(hub: FakeHub) -> str:
    """Return the commit of acme/tiny."""
    return hub.repositories["acme/tiny"].refs["main"]


CODE = """
import json, sys
import pillm
from pillm_hf.models.hub import locate
try:
    source = locate(sys.argv[1], *sys.argv[2:])
    folder = source.fetch()
    print(json.dumps({"identity": source.identity, "files": sorted(path.name for path in folder.iterdir())}))
except pillm.PillmError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
print(json.dumps("torch" in sys.modules))
"""


def ask(hub: FakeHub, home: Path, *args: str, code: str = CODE, **more: str) -> Any:
    """Locate and fetch a model in a process of its own, which reads the hub's address at its start."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        **more,
    }
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer, torch_loaded = done.stdout.splitlines()
    assert torch_loaded == "false"
    return json.loads(answer)


def test_a_hub_model_is_pinned_to_a_commit_and_brings_neither_python_nor_pickles(hub: FakeHub, tmp_path: Path) -> None:
    found = ask(hub, tmp_path, "acme/tiny")
    assert found == {"identity": f"acme/tiny@{commit_of(hub)}", "files": ["config.json", "model.safetensors", "tokenizer.json"]}


def test_what_was_downloaded_once_is_found_offline(hub: FakeHub, tmp_path: Path) -> None:
    ask(hub, tmp_path, "acme/tiny")
    before = len(hub.calls)
    assert ask(hub, tmp_path, "acme/tiny", HF_HUB_OFFLINE="1")["identity"] == f"acme/tiny@{commit_of(hub)}"
    assert len(hub.calls) == before


@pytest.mark.parametrize(
    ("args", "more", "error", "said"),
    [
        (("acme/gone",), {}, "DataError", "Check the spelling"),
        (("acme/gated",), {}, "Unavailable", "Accept its terms"),
        (("acme/tiny", "nightly"), {}, "DataError", "no revision 'nightly'"),
        (("acme/tiny",), {"HF_HUB_OFFLINE": "1"}, "Unavailable", "Go online once"),
        (("acme/tiny",), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "Unavailable", "out of reach"),
        (("acme/pickled",), {}, "UnsafeError", "can run code"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(
    hub: FakeHub, tmp_path: Path, args: tuple[str, ...], more: dict[str, str], error: str, said: str
) -> None:
    found = ask(hub, tmp_path, *args, **more)
    assert found["error"] == error
    assert said in found["message"]


def test_a_name_that_is_no_model_is_a_sentence() -> None:
    with pytest.raises(pillm.DataError, match="owner/name"):
        locate("no such folder")
    with pytest.raises(pillm.DataError, match="owner/name"):
        locate("../../etc/no-such-model")


def test_a_folder_has_no_revisions(base: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="revision"):
        locate(str(base), "main")


def test_the_content_hash_follows_the_weights_and_not_the_readme(base: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(base, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words", "utf-8")
    assert content_hash(copy) == content_hash(base)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert content_hash(copy) != content_hash(base)


def test_a_folder_without_a_model_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(pillm.DataError, match=r"no config\.json"):
        content_hash(tmp_path)


def adapter_on(base: Path, folder: Path, *, inside: str = "") -> Path:
    """Write a folder that holds an adapter alone, perhaps in a folder inside."""
    place = folder / inside
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}), "utf-8")
    (place / "adapter_model.safetensors").write_bytes(b"learnt")
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    return folder


@pytest.mark.parametrize("inside", ["", "adapter"])
def test_the_content_hash_follows_an_adapter_and_its_base(base: Path, tmp_path: Path, inside: str) -> None:
    import shutil

    below = shutil.copytree(base, tmp_path / "below")
    student = adapter_on(below, tmp_path / "student", inside=inside)
    before = content_hash(student)
    (student / inside / "adapter_model.safetensors").write_bytes(b"learnt more")
    after = content_hash(student)
    assert after != before
    (below / "model.safetensors").write_bytes(b"other weights")
    assert content_hash(student) not in (before, after)


def test_the_content_hash_of_a_merged_model_ignores_the_adapter_beside_it(base: Path, tmp_path: Path) -> None:
    import shutil

    merged = shutil.copytree(base, tmp_path / "merged")
    (merged / "adapter").mkdir()
    (merged / "adapter" / "adapter_config.json").write_text("{}", "utf-8")
    assert content_hash(merged) == content_hash(base)


def test_an_adapter_that_names_no_base_is_refused(base: Path, tmp_path: Path) -> None:
    student = adapter_on(base, tmp_path / "student")
    (student / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(pillm.DataError, match="base_model_name_or_path"):
        content_hash(student)


HERE = """
import json, sys
from pillm_hf import LoRA
found = LoRA(base=sys.argv[1]).base_checkpoint(fetch=False)
print(json.dumps(found and [found.name, sorted(path.name for path in found.path.iterdir())]))
print(json.dumps("torch" in sys.modules))
"""


def test_a_base_that_is_not_here_is_not_fetched_for_a_plan(hub: FakeHub, tmp_path: Path) -> None:
    before = len(hub.calls)
    assert ask(hub, tmp_path, "acme/tiny", code=HERE) is None
    assert len(hub.calls) == before
    ask(hub, tmp_path, "acme/tiny")
    before = len(hub.calls)
    assert ask(hub, tmp_path, "acme/tiny", code=HERE) == [
        f"acme/tiny@{commit_of(hub)[:12]}", ["config.json", "model.safetensors", "tokenizer.json"],
    ]  # fmt: skip
    assert len(hub.calls) == before


DESCRIBED = """
import json, sys
from pillm_hf import Full, LoRA
found = []
for trainer in (LoRA(base=sys.argv[1]), Full(base=sys.argv[1], keep_layers=1)):
    folder = trainer.base_config().path
    found.append([trainer.base_checkpoint(fetch=False) is None, sorted(path.name for path in folder.iterdir())])
    found.append((trainer.planned_shape() or {}).get("num_hidden_layers"))
print(json.dumps(found))
print(json.dumps("torch" in sys.modules))
"""


def test_of_a_base_that_is_not_here_a_plan_fetches_its_config_alone(hub: FakeHub, tmp_path: Path) -> None:
    assert ask(hub, tmp_path, "acme/shaped", code=DESCRIBED) == [[True, ["config.json"]], None, [True, ["config.json"]], 1]
    assert not list(tmp_path.rglob("*.safetensors"))


LOOK = """
import json, sys
import pillm
from pillm_hf import HFTeacher, LoRA
said = []
for backend in (LoRA(base=sys.argv[1]), HFTeacher(model=sys.argv[1])):
    try:
        said.append(backend.check())
    except pillm.PillmError as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
print(json.dumps("torch" in sys.modules))
"""


def test_a_look_ahead_asks_the_hub_for_the_model_and_downloads_nothing(hub: FakeHub, tmp_path: Path) -> None:
    assert ask(hub, tmp_path, "acme/tiny", code=LOOK) == [None, None]
    assert not list(tmp_path.rglob("*.safetensors"))
    for error in ask(hub, tmp_path, "acme/gone", code=LOOK):
        assert error.startswith("DataError: the hub has no model 'acme/gone'")
    for error in ask(hub, tmp_path / "new", "acme/tiny", code=LOOK, HF_HUB_OFFLINE="1"):
        assert error.startswith("Unavailable: ")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), r"no config\.json"),
        (("config.json", "pytorch_model.bin"), r"no weights as \*\.safetensors"),
        (("adapter_config.json", "adapter_model.safetensors"), "base_model_name_or_path"),
    ],
)
def test_a_folder_that_is_no_model_is_told_before_it_is_needed(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    for name in files:
        empty = (2).to_bytes(8, "little") if name.endswith(".safetensors") else b""
        (tmp_path / name).write_bytes(empty + b"{}")
    for backend in (LoRA(base=str(tmp_path)), HFTeacher(model=str(tmp_path))):
        with pytest.raises(pillm.DataError, match=words):
            backend.check()
