"""API keys on a board: for the user alone, never in a command, a log, an environment or a release."""

from __future__ import annotations

import http.client
import json
import re
import tempfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.deployment.keys import keys_of, read_keys
from pillm.deployment.place import Place
from tests.deploys import HELLO, Field, bundle

KEY, OTHER = "first-key-0123456789", "second-key-9876543210"


def deploy(served: Field, file: Path | None, which: int = 0, **options: Any) -> pillm.Deployment:
    service = pillm.Service(port=served.port, server=served.server, wait=20, context=256, threads=1, api_key_file=file)
    with served.board.remote() as remote:
        return pillm.deploy(bundle((served.old, served.new)[which], served.answers[which]), remote, service, **options)


def status(served: Field, key: str | None) -> int:
    """Ask the address with a key and return the status of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": HELLO}), headers)
    found = connection.getresponse().status
    connection.close()
    return found


def seen(served: Field, key: str) -> list[str]:
    """Return where on the board a key can be read: files, command lines, environments, what it was told to run."""
    files = [path for path in served.board.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [str(path) for path in files if key.encode() in path.read_bytes()]
    told = [Path(f"/proc/{pid}/{name}") for pid in served.board.processes() for name in ("cmdline", "environ")]
    return found + [str(path) for path in told if key.encode() in path.read_bytes()]


def test_callers_must_show_the_key_which_is_nowhere_but_in_its_file(served: Field, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"\n{KEY}\n")
    planned = deploy(served, file, dry_run=True)
    assert not seen(served, KEY), "a dry run brings nothing there"
    done = deploy(served, file)
    assert (planned.state, done.state) == ("planned", "deployed")
    assert (status(served, None), status(served, OTHER), status(served, KEY)) == (401, 401, 200)
    (kept,) = seen(served, KEY)
    assert re.search("/keys/[0-9a-f]{8}$", kept)
    assert oct(Path(kept).stat().st_mode)[-3:] == "600"
    assert KEY not in json.dumps([asdict(planned), asdict(done)])


@pytest.mark.full
def test_a_key_stays_until_another_takes_its_place_and_goes_with_its_last_release(served: Field, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    done = deploy(served, file)
    again = deploy(served, file)
    assert (again.state, again.release) == ("up to date", done.release), "the same key is the same release"
    unsaid = deploy(served, None, 1)
    assert unsaid.state == "deployed"
    assert (status(served, None), status(served, KEY)) == (401, 200), "a key is never dropped unasked"

    file.write_text(OTHER)
    assert deploy(served, file, 1).state == "deployed"
    assert (status(served, KEY), status(served, OTHER)) == (401, 200)
    with served.board.remote() as remote:
        assert pillm.roll_back(remote, pillm.Service(port=served.port, server=served.server)).state == "rolled back"
    assert (status(served, KEY), status(served, OTHER)) == (401, 200), "the key that callers show stays"
    for which in (0, 1):
        deploy(served, file, which)
    assert not seen(served, KEY), "what no release asks for is gone"


def test_a_server_that_knows_no_keys_is_refused(served: Field, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("third-key-0123456789")
    program = Path(served.server).with_name("older")
    program.write_text(Path(served.server).read_text().replace(" api-key-file", ""))
    program.chmod(0o755)
    other = replace(served, server=str(program))
    with pytest.raises(pillm.ConfigError, match=r"knows no --api-key-file.*Nothing was sent"):
        deploy(other, tmp_path / "key")
    assert not seen(served, "third-key")


def test_keys_that_are_gone_there_are_said(served: Field) -> None:
    with served.board.remote() as remote:
        place = Place.find(remote, "default")
        folder = Path(place.root) / "releases" / "broken"
        folder.mkdir()
        (folder / "arguments").write_text("x\n--api-key-file\n../../keys/00000000\n")
        with pytest.raises(pillm.DataError, match="whose file is gone there"):
            keys_of(place, "broken")
        (folder / "arguments").write_text("x\n--api-key-file\n/etc/hostname\n")
        with pytest.raises(pillm.DataError, match="whose file is gone there"):
            keys_of(place, "broken")


@pytest.mark.parametrize(
    "raw", [b"", b"\n \n", b"short", b"with a blank in it 12345", "sch\u00e9ma-0123456789012".encode(), b"x" * 20_000]
)
def test_what_is_no_key_is_refused_before_a_connection(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "key").write_bytes(raw)
    service = pillm.Service(api_key_file=tmp_path / "key")
    with pytest.raises(pillm.ConfigError, match="API keys"):
        pillm.deploy(bundle(tmp_path / "key", "x"), pillm.Remote("nowhere"), service)


@settings(max_examples=50)
@given(st.binary(max_size=80) | st.from_regex(r"[!-~]{16,40}\n?", fullmatch=True).map(str.encode))
def test_only_what_a_header_can_carry_is_a_key(raw: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file, suppress(pillm.ConfigError):
        Path(file.name).write_bytes(raw)
        assert all(re.fullmatch("[!-~]{16,}", line) for line in read_keys(Path(file.name)).splitlines())
