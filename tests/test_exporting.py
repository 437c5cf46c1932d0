"""Exporting publishes true files or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.agreement import Agreement
from pillm.artifacts import Checkpoint, ModelFile, Parity
from pillm.divergence import Divergence
from pillm.errors import BackendError, ConfigError, DataError
from pillm.progress import Progress
from pillm.stages.exporting import export
from pillm.stages.training import train
from pillm.store import Lineage, write_manifest
from pillm.testing import TableExporter, TableTrainer, sample_examples
from pillm.verification import verify

FOUND = Divergence(mean=0.01, low=0.008, high=0.012, p99=0.2, largest=1.5, top1=0.98, positions=500)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return train(sample_examples(), TableTrainer(), tmp_path / "train")


def test_every_file_is_recorded_with_size_and_sha(checkpoint: Checkpoint, tmp_path: Path) -> None:
    models = export(checkpoint, TableExporter(quants=("F16", "Q8_0")), tmp_path / "export")
    assert [model.quant for model in models] == ["F16", "Q8_0"]
    assert all(model.path.parent == tmp_path / "export" for model in models)
    assert models == [ModelFile.of(model.path, model.quant) for model in models]
    assert verify(tmp_path) == []


def test_the_same_export_again_makes_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    first = export(checkpoint, TableExporter(), tmp_path / "export")
    made = first[0].path.stat().st_mtime_ns
    again = export(checkpoint, TableExporter(), tmp_path / "export")
    assert again == first
    assert again[0].path.stat().st_mtime_ns == made


NEAR = Agreement(places=9, largest=0.25, top1=1.0, kld=0.5)


def test_what_was_measured_survives_the_record(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Proving(TableExporter):
        """Says what it proved."""

        name: ClassVar[str] = "proving"

        def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
            for model in super().export(checkpoint, out, progress):
                found = {"agreement": NEAR, "divergence": FOUND, "imatrix": True}
                yield replace(model, parity=Parity(rows=4, mismatches=0), types={"Q8_0": 3}, **found)

    model = export(checkpoint, Proving(), tmp_path / "export")[0]
    assert (model.parity, model.types) == (Parity(rows=4, mismatches=0), {"Q8_0": 3})
    assert (model.agreement, model.divergence, model.imatrix) == (NEAR, FOUND, True)


def test_a_false_sha_or_a_file_elsewhere_is_found_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Lying(TableExporter):
        """Reports a wrong hash."""

        name: ClassVar[str] = "lying"

        def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
            for model in super().export(checkpoint, out, progress):
                yield replace(model, sha256="0" * 64)

    class Straying(TableExporter):
        """Reports a file that is not in its folder."""

        name: ClassVar[str] = "straying"

        def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
            yield ModelFile.of(checkpoint.path / "config.json", "F16")

    with pytest.raises(BackendError, match="sha256 that is not the file's"):
        export(checkpoint, Lying(), tmp_path / "export")
    with pytest.raises(BackendError, match="not a file in its folder"):
        export(checkpoint, Straying(), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_work_files_do_not_ship(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Untidy(TableExporter):
        """Leaves work files behind."""

        name: ClassVar[str] = "untidy"

        def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
            (out / ".work").mkdir()
            (out / ".work" / "big").write_text("x")
            (out / "half.part").write_text("x")
            yield from super().export(checkpoint, out, progress)

    export(checkpoint, Untidy(), tmp_path / "export")
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "card.json",
        "contract.json",
        "manifest.json",
        "student-F16.table",
    ]


def test_the_contract_goes_with_the_files(checkpoint: Checkpoint, tmp_path: Path) -> None:
    export(checkpoint, TableExporter(), tmp_path / "export")
    assert (tmp_path / "export" / "contract.json").read_bytes() == (checkpoint.path / "contract.json").read_bytes()


def test_a_folder_that_is_no_model_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no config\.json.*folder that train wrote"):
        export(Checkpoint(path=tmp_path), TableExporter(), tmp_path / "export")


def test_an_export_never_replaces_the_run_that_holds_its_checkpoint(tmp_path: Path) -> None:
    inner = train(sample_examples(), TableTrainer(), tmp_path / "run" / "train")
    write_manifest(tmp_path / "run", Lineage(verb="run", key="k"))
    with pytest.raises(ConfigError, match=r"run holds what `run` made; it is left alone"):
        export(inner, TableExporter(), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train holds what `train` made; it is left alone"):
        export(inner, TableExporter(), inner.path)
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="run was not made by pillm"):
        export(inner, TableExporter(), tmp_path / "run")
    assert verify(inner.path) == []


def test_an_export_that_holds_a_checkpoint_is_not_replaced(tmp_path: Path, checkpoint: Checkpoint) -> None:
    export(checkpoint, TableExporter(), tmp_path / "export")
    inner = train(sample_examples(), TableTrainer(upper=True), tmp_path / "export" / "train")
    with pytest.raises(ConfigError, match=r"export holds train/\S+, which `export` did not put there"):
        export(inner, TableExporter(), tmp_path / "export")
    assert verify(inner.path) == []


def test_an_adapters_folder_is_exported_with_the_contract_of_its_student(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class WithBase(TableExporter):
        """Packs an adapter; its base is the trained table."""

        name: ClassVar[str] = "with-base"
        base: str = "first"

        def parents(self, checkpoint: Checkpoint) -> dict[str, str]:
            return {"base": self.base}

        def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
            yield from super().export(Checkpoint(path=checkpoint.path.parent, name=checkpoint.label), out, progress)

    (checkpoint.path / "adapter").mkdir()
    (checkpoint.path / "adapter" / "adapter_config.json").write_text("{}")
    (checkpoint.path / "contract.json").write_text('{"hash": "h"}')
    adapter = Checkpoint(path=checkpoint.path / "adapter")
    first = export(adapter, WithBase(), tmp_path / "export")
    assert (tmp_path / "export" / "contract.json").read_text() == '{"hash": "h"}'
    assert json.loads((tmp_path / "export" / "manifest.json").read_text())["parents"]["base"] == "first"
    made = first[0].path.stat().st_ino
    assert export(adapter, WithBase(), tmp_path / "export")[0].path.stat().st_ino == made
    assert export(adapter, WithBase(base="second"), tmp_path / "export")[0].path.stat().st_ino != made
