"""What is made verb by verb, without a recipe, tells its whole story and may be published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pillm
from pillm.cli.program import main
from pillm.testing import FAKES, FakeHub, installed_plugin

CARDED = """
from pathlib import Path
from typing import ClassVar
import pillm
from pillm.testing.fakes import EchoTeacher, TableTrainer

class CardedTeacher(EchoTeacher):
    name: ClassVar[str] = "carded"
    model: Path

    def origin(self):
        return pillm.Origin(name=f"acme/{self.model.name}", revision="c0ffee", folder=self.model)

class BasedTrainer(TableTrainer):
    name: ClassVar[str] = "based"
    base: Path

    def base_checkpoint(self, *, fetch=True):
        return pillm.Checkpoint(path=self.base, origin="acme/tiny@feed")

@pillm.hookimpl
def pillm_teachers():
    return [CardedTeacher]

@pillm.hookimpl
def pillm_trainers():
    return [BasedTrainer]
"""


@pytest.fixture
def pillm_(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Any]]:
    """Give `pillm WORDS --json`, with a teacher and a base that have cards."""
    monkeypatch.setenv("PILLM_PLUGINS", "fakes,carded,hub")

    def run(*words: object) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--json"])
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return json.loads(said.out)

    with installed_plugin(tmp_path / "a", "fakes", FAKES), installed_plugin(tmp_path / "b", "carded", CARDED):
        yield run


def model(folder: Path, license_: str) -> Path:
    """Write a model's folder with a card."""
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nlicense: {license_}\n---\n")
    return folder


@pytest.mark.parametrize("parted", [False, True])
def test_label_train_export_card_push(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, pillm_: Callable[..., Any], tmp_path: Path, parted: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    teacher, base = model(tmp_path / "big", "apache-2.0"), model(tmp_path / "tiny", "mit")
    rows = [{"user": f"say {n}", "license": "CC0-1.0", "source": "mine", "language": "fr"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = tmp_path / "label"
    pillm_("label", tmp_path / "rows.jsonl", "--teacher", "carded", "-o", f"model={teacher}", "--out", labelled)
    if parted:  # a split of the labelled rows still knows who answered them
        pillm_("data", "split", labelled / "labelled.jsonl", "--test", "2", "--out", tmp_path / "split")
        labelled = tmp_path / "split" / "train.jsonl"
    pillm_("train", labelled, "--trainer", "based", "-o", f"base={base}", "--out", tmp_path / "train")
    pillm_("export", tmp_path / "train", "--exporter", "table", "-o", "quants=F16,Q8_0", "--out", tmp_path / "export")
    card = pillm_("card", tmp_path / "export")
    assert [(part["role"], part["name"], part.get("revision"), part["license"], part["said_by"]) for part in card["parts"]] == [
        ("base", "acme/tiny", "feed", "mit", "model card"),
        ("teacher", "acme/big", "c0ffee", "apache-2.0", "model card"),
        ("data", "mine", None, "CC0-1.0", "rows"),
    ]
    assert (card["publishable"], card["license"], card["relation"]) == (True, "mit", "finetune")
    assert card["lineage"]["pillm.teacher"] == "acme/big"
    hubs = ("-o", f"endpoint={hub.endpoint}")
    assert pillm_("push", tmp_path / "export", "acme/student", *hubs)["sent"] is False
    done = pillm_("push", tmp_path / "export", "acme/student", *hubs, "--yes")
    there = hub.repositories["acme/student"].head
    assert done["files"] == len(there) == done["sent"]
    assert {"README.md", "card.json", "SHA256SUMS", "student-Q8_0.table"} <= set(there)
    readme = there["README.md"].decode()
    assert "trained from acme/tiny on answers of acme/big" in readme
    assert str(tmp_path) not in readme
    assert pillm.verify(tmp_path / "export") == []
