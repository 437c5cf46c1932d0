"""A finished result is amended as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.amending import amend
from pillm.errors import ConfigError
from pillm.files import write_text
from pillm.store import Lineage, WorkFolder, is_current, read_manifest
from pillm.verification import verify


@pytest.fixture
def made(tmp_path: Path) -> Path:
    with WorkFolder(tmp_path / "export", "export", "k") as work:
        (work.path / "sub").mkdir()
        (work.path / "sub" / "large").write_text("weights")
        (work.path / "README.md").write_text("old")
        work.publish(Lineage(verb="export", key="k", seed=3, seconds=2.5))
    return tmp_path / "export"


def test_a_replaced_file_is_the_results_and_what_made_it_stays_said(made: Path) -> None:
    before, inode = read_manifest(made), (made / "sub" / "large").stat().st_ino
    (made / "pillm.log").write_text("goes on")
    with amend(made, "export") as work:
        write_text(work / "README.md", "new")
        write_text(work / "more.txt", "more")
    after = read_manifest(made)
    assert before
    assert after
    assert {key: after[key] for key in after if key != "files"} == {key: before[key] for key in before if key != "files"}
    assert sorted(after["files"]) == ["README.md", "more.txt", "sub/large"]
    assert (made / "README.md").read_text() == "new"
    assert (made / "sub" / "large").stat().st_ino == inode, "it was not copied"
    assert (made / "pillm.log").read_text() == "goes on"
    assert is_current(made, "k")
    assert verify(made) == []
    assert [path.name for path in made.parent.iterdir()] == ["export"]


def test_where_something_fails_the_old_result_stands(made: Path) -> None:
    with pytest.raises(RuntimeError), amend(made, "export") as work:
        write_text(work / "README.md", "new")
        raise RuntimeError
    assert (made / "README.md").read_text() == "old"
    assert verify(made) == []
    with amend(made, "export") as work:
        write_text(work / "README.md", "newer")
    assert (made / "README.md").read_text() == "newer"
    assert [path.name for path in made.parent.iterdir()] == ["export"]


def test_a_kill_between_the_two_renamings_loses_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if Path(target) == made:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt), amend(made, "export") as work:
            write_text(work / "README.md", "new")
    assert not made.exists()
    assert is_current(made, "k"), "the finished folder is put in place by whoever asks next"
    assert (made / "README.md").read_text() == "new"


def test_what_is_no_result_of_the_stage_is_left_alone(made: Path, tmp_path: Path) -> None:
    (made / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"holds mine\.txt"), amend(made, "export"):
        pass
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="holds no finished result"), amend(tmp_path / "other", "export"):
        pass
