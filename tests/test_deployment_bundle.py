"""A bundle: the same release for the same things, and an archive that holds text only as text."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.contract import Contract
from pillm.deployment.bundle import Bundle
from pillm.deployment.profile import Profile
from pillm.deployment.smoke import SmokeTest

OTHERS: tuple[dict[str, Any], ...] = (
    {"server": "other"}, {"context": 1024}, {"threads": 2}, {"temperature": 0.5}, {"predict": 64}, {"constrained": True},
    {"system": True}, {"key": "0a1b2c3d"},
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def a_bundle(prompt: str = "hi", expected: str | None = "yes") -> Bundle:
    model = pillm.ModelFile(path=Path("m.gguf"), quant="Q8_0", bytes=1, sha256="0" * 64)
    smoke = SmokeTest(messages=({"role": "user", "content": prompt},), expected=expected)
    return Bundle(model=model, contract=Contract(), smoke=(smoke,))


def test_a_release_is_named_by_what_it_serves_and_how() -> None:
    one = a_bundle()
    plain = Profile(server="llama-server")
    name = one.release(plain)
    assert name == a_bundle().release(plain)
    assert len(name) == 12
    others = [
        *(one.release(replace(plain, **other)) for other in OTHERS),
        a_bundle(expected=None).release(plain),
        replace(one, contract=Contract(system="x")).release(plain),
        replace(one, model=replace(one.model, sha256="1" * 64)).release(plain),
        replace(one, schema={"type": "object"}).release(plain),
        replace(one, template="x").release(plain),
    ]
    assert len({name, *others}) == len(others) + 1


@settings(max_examples=100)
@given(TEXTS, TEXTS)
def test_whatever_is_asked_and_expected_stays_text(prompt: str, expected: str) -> None:
    archive = a_bundle(prompt, expected).archive("0a1b", ["llama-server", "--model", "model.gguf"], {"said": {}})
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert sorted(tar.getnames()) == ["arguments", "contract.json", "manifest.json", "smoke.json", "sums"]
        read = {name: (tar.extractfile(name) or io.BytesIO()).read() for name in tar.getnames()}
    assert json.loads(read["smoke.json"])["tests"][0]["request"]["messages"][0]["content"] == prompt
    assert json.loads(read["smoke.json"])["tests"][0]["expected"] == expected
    sums = dict(line.split("  ")[::-1] for line in read["sums"].decode().splitlines())
    assert {name: hashlib.sha256(text).hexdigest() for name, text in read.items() if name != "sums"}.items() <= sums.items()


def test_tar_and_sha256sum_agree(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"m")
    one = a_bundle()
    one = replace(one, model=replace(one.model, sha256=hashlib.sha256(b"m").hexdigest()), schema={"type": "object"})
    subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path)], input=one.archive("0a1b", ["x"], {}), check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "sums"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "answer.schema.json").is_file()
