"""`deploy`, back again, and how it stands: over a real sshd, with a stand-in for llama-server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pillm
from pillm.deployment.place import Place
from pillm.deployment.profile import Profile
from pillm.deployment.smoke import SmokeTest
from pillm.deployment.standing import logs_of, standing_of
from pillm.remote import uploading
from pillm.testing import missing_for_board
from pillm.testing.standin import write_stand_in_model
from tests.deploys import Answers, Field, a_field, break_everywhere, bundle, run_service
from tests.programs import llama_server

ROOT = Path(__file__).parents[1]
EVIL = (
    "$(touch evil)",
    "`touch evil`",
    "; touch evil #",
    "' ; touch evil ; '",
    '"; touch evil; "',
    "\ntouch evil\n",
    "|touch evil",
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HOSTILE = st.lists(st.sampled_from(EVIL) | ANY, max_size=4).map("".join)


def service(served: Field, **options: Any) -> pillm.Service:
    return replace(pillm.Service(port=served.port, server=served.server, wait=20, context=256, threads=1), **options)


def test_a_model_is_deployed_and_gone_back_from_within_30_seconds(served: Field) -> None:
    answers = Answers(served.port)
    with served.board.remote() as remote:
        before = standing_of(remote, service(served))
        done = pillm.deploy(bundle(served.new, "new"), remote, service(served))
        assert (done.state, done.model, done.previous) == ("deployed", "new.gguf", before["release"])
        assert answers.once() == "new"
        again = pillm.deploy(bundle(served.new, "new"), remote, service(served))
        assert (again.state, again.release) == ("up to date", done.release)
        assert "arguments:" in logs_of(remote, service(served))
        began = time.monotonic()
        back = pillm.roll_back(remote, service(served))
        assert time.monotonic() - began < 30
        assert (back.state, back.release, back.model) == ("rolled back", before["release"], "old.gguf")
        assert answers.once() == "old"
        stands = standing_of(remote, service(served))
    assert stands["healthy"]
    assert (stands["release"], stands["previous"]) == (before["release"], done.release)
    assert stands["running"] == {"keeper": True, "front": True, "server": True}
    assert stands["memory_bytes"] > 1e6
    assert stands["address"] == f"http://127.0.0.1:{served.port}"


def test_a_dry_run_changes_nothing(served: Field) -> None:
    def listing() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in served.board.home.rglob("*") if "/run" not in str(path))

    before = listing()
    with served.board.remote() as remote:
        done = pillm.deploy(bundle(served.new, "other"), remote, service(served), dry_run=True)
    assert done.state == "planned"
    assert any("would be sent" in note for note in done.notes)
    assert listing() == before


def test_what_would_move_the_address_is_refused(served: Field) -> None:
    with served.board.remote() as remote, pytest.raises(pillm.ConfigError, match=f"answers at port {served.port}"):
        pillm.deploy(bundle(served.new, "new"), remote, service(served, port=served.port + 1))


def test_a_server_that_died_is_started_anew_and_so_is_its_keeper(served: Field) -> None:
    answers = Answers(served.port)
    while pids := served.board.processes():  # as when the power fails
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
    with pytest.raises(ConnectionRefusedError):
        answers.once()
    with served.board.remote() as remote:
        assert not standing_of(remote, service(served))["healthy"]
        assert pillm.deploy(bundle(served.old, "old"), remote, service(served), dry_run=True).state == "planned"
        assert not standing_of(remote, service(served))["healthy"]
        done = pillm.deploy(bundle(served.old, "old"), remote, service(served))
        assert done.state == "restarted"
    assert answers.once() == "old"


def test_a_short_upload_is_noticed_there(served: Field, tmp_path: Path) -> None:
    big = write_stand_in_model(tmp_path / "big.gguf", "big", padding="x" * 500_000)
    files = served.board.home / ".local" / "share" / "pillm" / "served" / "default" / "files"
    served.board.hook(f"case $SSH_ORIGINAL_COMMAND in *placed*) truncate -s -1000 {files}/*.part ;; esac\n")
    with served.board.remote() as remote, pytest.raises(pillm.Unavailable, match="arrived with sha256"):
        run_service(bundle(big, "big"), remote, served.server, served.port)
    served.board.healthy()
    assert not list(files.glob("*big*"))
    assert Answers(served.port).once() == "old"


def test_a_full_board_keeps_answering(served: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = write_stand_in_model(tmp_path / "big.gguf", "big", padding="x" * 5_000_000)
    served.board.limit(1_000_000)
    with served.board.remote() as remote, pytest.raises(pillm.StorageError, match="no space is left there"):
        run_service(bundle(big, "big"), remote, served.server, served.port)
    served.board.healthy()
    monkeypatch.setattr(uploading, "_SPARE", 1 << 60)
    with served.board.remote() as remote, pytest.raises(pillm.StorageError, match="Nothing was sent"):
        run_service(bundle(write_stand_in_model(tmp_path / "b.gguf", "b"), "b"), remote, served.server, served.port)
    assert Answers(served.port).once() == "old"


def test_a_changed_host_key_stops_everything_before_a_byte(served: Field, tmp_path: Path) -> None:
    known = tmp_path / "known"
    served.deploy(0, known_hosts=known, accepted=(served.board.fingerprint,))
    served.board.change_host_key()
    before = len(served.board.commands)
    with pytest.raises(pillm.UnsafeError, match="another key"):
        served.deploy(1, known_hosts=known, accepted=(served.board.fingerprint,))
    assert len(served.board.commands) == before
    served.board.trust()
    assert Answers(served.port).once() == "old"


def test_nothing_to_go_back_to_is_said(served: Field) -> None:
    served.forget()
    with served.board.remote() as remote, pytest.raises(pillm.ConfigError, match="no release before the current one"):
        pillm.roll_back(remote, service(served))
    with served.board.remote() as remote, pytest.raises(pillm.ConfigError, match="nothing is deployed under the name 'other'"):
        standing_of(remote, service(served, name="other"))


def hostile(served: Field, folder: Path, count: int) -> int:
    """Bring bundles with hostile names of files, prompts and answers to the board; return how many came there whole."""
    came = 0
    with served.board.remote() as remote:
        place = Place.find(remote, "hostile")
        place.install()

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(HOSTILE, HOSTILE, HOSTILE)
        def bring(name: str, prompt: str, expected: str) -> None:
            nonlocal came
            plain = name.replace("/", "_").replace("\0", "_").encode()[:200].decode("utf-8", "ignore")
            path = folder / (plain if plain not in ("", ".", "..") else "x")
            path.write_bytes(name.encode("utf-8", "replace"))
            what = bundle(path, expected)
            what = replace(what, smoke=(SmokeTest(messages=({"role": "user", "content": prompt},), expected=expected),))
            release = what.release(Profile(server=served.server))
            sent = remote.upload(path, f"{place.root}/files", what.model.sha256)
            place.unpack(release, what.archive(release, [served.server], {}), sent, "link.gguf")
            assert (Path(place.root) / "releases" / release / "model.gguf").read_bytes() == path.read_bytes()
            came += 1
            path.unlink()
            shutil.rmtree(Path(place.root) / "releases" / release)

        bring()
    assert not [path for where in (served.board.folder, folder, Path.cwd()) for path in where.rglob("evil*")]
    return came


def test_hostile_names_are_only_names(served: Field, tmp_path: Path) -> None:
    assert hostile(served, tmp_path, 5) >= 5


@pytest.mark.full
def test_500_hostile_names_inject_nothing_and_the_old_model_answers(served: Field, tmp_path: Path) -> None:
    answers = Answers(served.port)
    with answers.asked():
        assert hostile(served, tmp_path, 500) >= 500
    assert set(answers.said) == {"old"}
    assert answers.errors == []


@pytest.mark.full
def test_a_card_that_is_really_full_keeps_the_old_model(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: a small file system is made")
    with a_field() as served, tempfile.TemporaryDirectory(prefix="b") as small:
        root = served.board.home / ".local" / "share" / "pillm" / "served" / "default" / "files"
        shutil.copytree(root, small, dirs_exist_ok=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(root)], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("needs root that may mount a file system")
        try:
            shutil.copytree(small, root, dirs_exist_ok=True)
            big = write_stand_in_model(tmp_path / "big.gguf", "big", padding="x" * 5_000_000)
            uploading._SPARE, spare = -(1 << 40), uploading._SPARE
            try:
                with served.board.remote() as remote, pytest.raises(pillm.StorageError, match="no space is left there"):
                    run_service(bundle(big, "big"), remote, served.server, served.port)
            finally:
                uploading._SPARE = spare
            assert not list(root.glob("*big*"))  # what would have kept the card full is gone
            assert Answers(served.port).once() == "old"
        finally:
            subprocess.run(["umount", "-l", str(root)], check=True)


def two_models(folder: Path) -> tuple[Path, Path]:
    """Return the model of the board's self-test, and one that answers otherwise since a layer's rows are in another order."""
    from gguf import GGUFReader

    old, new = ROOT / "rpi4" / "selftest" / "tiny.gguf", folder / "new.gguf"
    shutil.copyfile(old, new)
    layer = next(tensor for tensor in GGUFReader(new, "r+").tensors if "ffn_down" in tensor.name)
    layer.data[:] = layer.data[::-1].copy()
    layer.data.flush()
    return old, new


@pytest.mark.full
def test_a_real_llama_server_is_replaced_while_it_is_asked(tmp_path: Path) -> None:
    if lacking := missing_for_board():
        pytest.skip(lacking)
    with a_field(llama_server(), *two_models(tmp_path)) as served:
        count = break_everywhere(served, "kill", range(9, 12))
        assert (count.refused, count.wrong, count.strays, count.unfinished) == (0, 0, 0, 0)
        began = time.monotonic()
        served.deploy(1)
        with served.board.remote() as remote:
            assert pillm.roll_back(remote, service(served)).seconds < 30
        assert time.monotonic() - began < 60
