"""An export measures its files, and uses the importance matrix where that helps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.measuring.divergence import Compared, Divergence
from pillm_llamacpp.measuring.measures import Measures
from pillm_llamacpp.quantizing.imatrix import gather, read, write
from pillm_llamacpp_tiny import conversations, write_calibration

import pillm


@pytest.fixture(scope="module")
def rendered(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> pillm.Checkpoint:
    """Return the tiny model with conversations to measure with."""
    folder = shutil.copytree(checkpoint.path, tmp_path_factory.mktemp("rendered") / "tiny")
    write_calibration(folder)
    return pillm.Checkpoint(path=folder)


def export(checkpoint: pillm.Checkpoint, out: Path, **options: object) -> tuple[list[pillm.ModelFile], list[str]]:
    events: list[pillm.Event] = []
    models = list(GGUFExporter(file_name="tiny", **options).export(checkpoint, out, pillm.Progress("export", (events.append,))))
    return models, [event.message for event in events if event.kind == "note"]


@pytest.mark.full
def test_files_are_measured_and_the_importance_matrix_is_used_where_it_helps(
    rendered: pillm.Checkpoint, tmp_path: Path
) -> None:
    models, notes = export(rendered, tmp_path / "out", quants=["F16", "Q8_0", "Q4_0", "Q2_K_S"])
    full, q8, q4, q2 = models
    assert (full.divergence, full.imatrix, q8.imatrix, q2.imatrix) == (None, False, False, True)
    assert q8.divergence.mean < q4.divergence.mean < q2.divergence.mean
    verdict = next(note for note in notes if note.startswith("Q4_0: the importance matrix takes the divergence from"))
    before, after = (float(word) for word in verdict.split(" from ")[1].split(" nats")[0].split(" to "))
    assert q4.imatrix == ("beyond chance" in verdict and after < before) == ("is used" in verdict)
    assert q4.divergence.mean == pytest.approx(after if q4.imatrix else before, rel=0.01)
    assert not any(note.startswith("Q8_0: the importance") for note in notes)
    kept = read(tmp_path / "out" / "tiny.imatrix.gguf")
    assert kept.datasets[0].startswith("16 training conversations of tiny (sha256 ")
    assert {path.name for path in (tmp_path / "out").glob("*.gguf")} == {
        "tiny.imatrix.gguf", "tiny-F16.gguf", "tiny-Q8_0.gguf", "tiny-Q4_0.gguf", "tiny-Q2_K_S.gguf",
    }  # fmt: skip


def test_what_does_not_help_is_dropped(
    exported: dict[str, pillm.ModelFile], rendered: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    progress = pillm.Progress("export", (lambda event: notes.append(event.message),))
    measures = Measures(1, 1, progress, tmp_path)
    measures.prepare(exported["F16"].path, rendered, option="auto", quants=["Q4_0"])
    plain = measures.make(exported["F16"].path, tmp_path / "a.gguf", "Q4_0")
    # better in the mean, and by chance: the rows do not agree
    found = iter([(0.5, [0.1, 0.9] * 4), (0.48, [0.9, 0.06] * 4)])

    def compare(_: Measures, path: Path) -> Compared:
        mean, rows = next(found)
        return Compared(Divergence(mean=mean, low=0, high=1, p99=1, largest=1, top1=1, positions=9), tuple(rows))

    monkeypatch.setattr(Measures, "compare", compare)
    measures.used = False
    facts = measures.make(exported["F16"].path, tmp_path / "b.gguf", "Q4_0")
    assert not facts["imatrix"]
    assert notes[-1].startswith("Q4_0: the importance matrix takes the divergence from 0.5 to 0.48 nats (within chance: ")
    assert notes[-1].endswith(" over 8 rows), so it is dropped.")
    measures.keep(tmp_path / "kept.gguf")
    assert not (tmp_path / "kept.gguf").exists()
    assert plain["divergence"].positions > 100
    assert not list(tmp_path.glob("*-?.gguf"))


def test_without_an_importance_matrix_files_are_measured_all_the_same(
    exported: dict[str, pillm.ModelFile], rendered: pillm.Checkpoint, tmp_path: Path
) -> None:
    measures = Measures(1, 1, pillm.Progress(), tmp_path)
    measures.prepare(exported["F16"].path, rendered, option="off", quants=["Q4_0"])
    facts = measures.make(exported["F16"].path, tmp_path / "a.gguf", "Q4_0")
    assert facts["divergence"]
    assert not facts["imatrix"]
    measures.keep(tmp_path / "kept.gguf")
    assert not (tmp_path / "kept.gguf").exists()


def test_a_file_may_be_given(exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    write(gather(exported["F16"].path, conversations(8), threads=1, progress=pillm.Progress()), tmp_path / "given.gguf")
    given = str(tmp_path / "given.gguf")
    measures = Measures(1, 1, pillm.Progress(), tmp_path)
    measures.prepare(exported["F16"].path, checkpoint, option=given, quants=["Q2_K_S"])
    facts = measures.make(exported["F16"].path, tmp_path / "a.gguf", "Q2_K_S")
    assert (facts["imatrix"], facts["divergence"]) == (True, None)
    identities = [GGUFExporter(imatrix=given).identity()]
    shutil.copyfile(given, tmp_path / "copy.gguf")
    identities.append(GGUFExporter(imatrix=str(tmp_path / "copy.gguf")).identity())
    assert identities[0] == identities[1] != GGUFExporter().identity()


def test_a_type_that_needs_an_importance_matrix_is_refused_before_anything_is_converted(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(pillm.ConfigError, match=r"type IQ2_XS needs an importance matrix.* has no calibration texts"):
        export(checkpoint, tmp_path / "out", quants=["F16", "IQ2_XS"])
    with pytest.raises(pillm.ConfigError, match="types IQ2_XS, IQ1_S need an importance matrix"):
        pillm.exporter("gguf", quants=["IQ2_XS", "IQ1_S"], imatrix="off")
    with pytest.raises(pillm.DataError, match=r"no\.gguf.* cannot be read"):
        export(checkpoint, tmp_path / "out", quants=["Q4_0"], imatrix=str(tmp_path / "no.gguf"))
    assert not (tmp_path / "out").exists()


def test_off_may_be_written_as_yaml_reads_it() -> None:
    assert GGUFExporter(imatrix=False).imatrix == "off"


def test_rows_that_were_trained_on_are_said_to_be(
    exported: dict[str, pillm.ModelFile], checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint.path, tmp_path / "tiny")
    rows = [{"text": text, "split": "train"} for text in conversations()]
    (folder / "calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes: list[str] = []
    measures = Measures(1, 1, pillm.Progress("export", (lambda event: notes.append(event.message),)), tmp_path)
    measures.prepare(exported["F16"].path, pillm.Checkpoint(path=folder), option="off", quants=["Q4_0"])
    assert any("there are no validation rows" in note for note in notes)


def test_what_an_interrupted_choice_had_read_is_not_read_again(
    exported: dict[str, pillm.ModelFile], rendered: pillm.Checkpoint, tmp_path: Path
) -> None:
    def prepared(state: str) -> tuple[Measures, list[str]]:
        said: list[str] = []
        progress = pillm.Progress("export", (lambda event: said.append(event.message),))
        measures = Measures(1, 1, progress, tmp_path, state=state)
        measures.prepare(exported["F16"].path, rendered, option="auto", quants=["Q4_0"])
        return measures, [message for message in said if "conversations" in message]

    first, read_first = prepared("one")
    again, read_again = prepared("one")
    assert len(read_first) == 2
    assert read_again == []
    assert again.reference == first.reference
    assert again.imatrix.means("blk.0.attn_q.weight").tolist() == first.imatrix.means("blk.0.attn_q.weight").tolist()
    assert len(prepared("of other weights")[1]) == 2
    assert len(prepared("")[1]) == 2, "without a key nothing is believed"
