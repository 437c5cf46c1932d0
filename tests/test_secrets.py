"""Whatever goes wrong, no secret stands in anything that labelling says or writes: fourteen are planted and looked for.

The full form (`make test-full`) plays every failure; both print what they counted.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.leaks import FAILURES, NAMES, SECRETS, forms, found, play

QUICK = (
    "answers", "401", "redirect", "200 error", "cut message", "header", "SIGTERM", "proxy is away", "OPENAI_BASE_URL",
)  # fmt: skip
CODES = {"answers": 0, "model": 0, "SIGTERM": 130, "OPENAI_BASE_URL": 2, "base_url": 2, "env file": 2, "wrong key": 2}


@pytest.mark.parametrize(
    "failures", [QUICK, pytest.param(FAILURES, marks=[pytest.mark.full, pytest.mark.timeout(1800)])], ids=["quick", "full"]
)
def test_no_secret_is_found_in_any_output_whatever_fails(tmp_path: Path, failures: tuple[str, ...]) -> None:
    def one(number: int) -> tuple[int, set[str], list[str]]:
        code, heard = play(failures[number], tmp_path / f"inputs{number}", tmp_path / f"left{number}")
        return code, heard, found(tmp_path / f"left{number}")

    with ThreadPoolExecutor(2) as pool:
        played = dict(zip(failures, pool.map(one, range(len(failures))), strict=True))
    places = [f"{how}: {place}" for how, (_, _, there) in played.items() for place in there]
    print(f"{len(NAMES)} secrets, {len(failures)} failures, {len(places)} found")
    assert not places, "\n".join(places)
    said = {how: (tmp_path / f"left{number}" / "stderr").read_text() for number, how in enumerate(failures)}
    assert not [how for how, text in said.items() if "Traceback" in text], said
    for how, (code, _, _) in played.items():
        assert code == CODES.get(how, code), said[how]
        assert code in (0, 1, 2, 5, 130), said[how]
    assert set.union(*(heard for _, heard, _ in played.values())) >= {SECRETS["the key"], SECRETS["the key in the env file"]}


def test_a_secret_is_found_raw_in_base64_in_a_url_and_in_json(tmp_path: Path) -> None:
    import base64
    import json
    from urllib.parse import quote

    secret = SECRETS["the key"]
    written = [secret, quote(secret, safe=""), json.dumps(secret), base64.b64encode(secret.encode()).decode()]
    written += [base64.b64encode(f"{before}{secret}".encode()).decode() for before in ("Bearer ", "user:")]
    for text in written:
        (tmp_path / "file").write_text(f"before {text} after")
        assert found(tmp_path, ["the key"]), text
    assert len({form for name in NAMES for form in forms(SECRETS[name])}) == 4 * len(NAMES)
