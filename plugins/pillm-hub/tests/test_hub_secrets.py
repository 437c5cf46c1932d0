"""The token goes to the hub and nowhere else: not into what is said, logged or written, whatever fails."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from pillm.testing import FakeHub
from pillm.testing.hubstate import SAMPLE

MAIN = "from pillm.cli import main; main()"
EXPORTED = """
import sys
from pathlib import Path
from pillm.store import Lineage, write_manifest
write_manifest(Path(sys.argv[1]), Lineage(verb="export", key="k"))
"""


def small_gguf() -> bytes:
    """Return a file of one tensor: what is published is looked at first."""

    def text(said: str) -> bytes:
        return struct.pack("<Q", len(said)) + said.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 64, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(32 * 64 * 4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run that may be published."""
    export = tmp_path / "run" / "export"
    export.mkdir(parents=True)
    (export / "student-F16.gguf").write_bytes(small_gguf())
    (export / "card.json").write_text('{"publishable": true}')
    (export / "README.md").write_text("---\nlicense: mit\n---\n# Student\n")
    subprocess.run([sys.executable, "-c", EXPORTED, str(export)], check=True)
    return export.parent


def pillm_(hub: FakeHub, home: Path, *words: object, token: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with that token, as talkative as it can be."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"PILLM_PLUGINS": "hub", "HF_DEBUG": "1"}
    command = [sys.executable, "-c", MAIN, *map(str, words), "-vv", "--log-file", str(home / "log")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=home.parent)


def test_no_token_is_found_in_anything_that_is_said_or_left(hub: FakeHub, run: Path, tmp_path: Path) -> None:
    hub.put("acme/private", SAMPLE, private=True)
    hub.put("acme/gated", SAMPLE, gated=True)
    home = tmp_path / "home"
    home.mkdir()
    said, codes, printed = [], [], [""]

    def play(*words: object, token: str = hub.token) -> None:
        done = pillm_(hub, home, *words, token=token)
        codes.append(done.returncode)
        said.append(done.stdout + done.stderr)
        printed[0] = done.stdout

    play("fetch", "acme/private", "--events", home / "events.jsonl")
    play("fetch", "acme/gated", token="hf_stranger")
    play("push", run, "acme/student", "--yes", token="hf_stranger")
    hub.refuse["batch"] = (500, {})
    hub.refuse["commit"] = (403, {"X-Error-Message": f"the token {hub.token} may not"})
    play("push", run, "acme/student")
    hub.refuse.pop("batch")
    play("push", run, "acme/student", "--yes")
    hub.refuse.clear()
    play("push", run, "acme/student", "--tag", "v1", "--yes", "--json")
    assert codes == [0, 5, 5, 0, 5, 0], said
    assert json.loads(printed[0])["sent"] == 3
    assert hub.repositories["acme/student"].private
    assert {call.token for call in hub.calls} == {"", hub.token, "hf_stranger"}
    left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for token in (hub.token, "hf_stranger"):
        for form in (token, b64encode(token.encode()).decode()):
            assert not [text for text in said if form in text]
            assert not [data for data in left if form.encode() in data]
    assert (home / "log").stat().st_size > 0
