"""Data sets of a hub as tables: pinned, resumed, proved, and free of code; asked over a real socket."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

COMMIT, NEWER = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"
LINES = "".join(json.dumps({"question": f"q{number}", "level": number % 10}) + "\n" for number in range(1200)).encode()
BIG = "".join(f"{number},{'x' * 600}\n" for number in range(40_000)).encode()
FILES = {
    "data/train-0.jsonl": LINES,
    "data/train-1.jsonl": b'{"question": "last", "level": 3}\n',
    "test.csv": b"question,level\na,1\nb,2\n",
    "big.csv": b"number,text\n" + BIG,
    "wrong.csv": b"a\n1\n",
    "load.py": b"raise SystemExit('code from the hub ran')",
    "rows.pkl": b"a pickle",
    "vectors.parquet": b"PAR1",
}


def blob_id(data: bytes) -> str:
    """Return git's name of a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(path: str, data: bytes) -> dict[str, Any]:
    """Return a file as a hub lists it; the large one lies in large file storage, one is listed wrongly."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
    if path == "big.csv":
        entry |= {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
    return entry | ({"oid": "0" * 40} if path == "wrong.csv" else {})


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as reading data sets needs; it cuts the first download of the large file in the middle."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str]]] = []
    head: ClassVar[str] = COMMIT

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append((path, self.headers.get("Range") or ""))
        if path.startswith("/api/datasets/acme/gated"):
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if path.startswith("/api/datasets/acme/rows/revision/nightly"):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if re.fullmatch(rf"/api/datasets/acme/rows(/revision/({COMMIT}|{NEWER}))?", path):
            return self._json({"id": "acme/rows", "sha": Hub.head, "siblings": []})
        if re.fullmatch(rf"/api/datasets/acme/rows/tree/({COMMIT}|{NEWER})", path):
            return self._json([listed(*file) for file in FILES.items()])
        name = re.sub(rf"^/datasets/acme/rows/resolve/({COMMIT}|{NEWER})/", "", path)
        if name in FILES:
            return self._file(name, FILES[name])
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

    def _file(self, name: str, data: bytes) -> None:
        headers = {"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": Hub.head, "Accept-Ranges": "bytes"}
        first = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if first:
            start = int(first[1])
            return self._send(206, data[start:], {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        if name == "big.csv" and self.command == "GET":
            return self._cut(data, headers)
        return self._send(200, data, headers)

    def _cut(self, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked, Hub.head = [], COMMIT
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


CODE = """
import json, sys
sys.modules["pyarrow"] = None  # as where it is not installed
import pillm
for address in sys.argv[1:]:
    try:
        table = pillm.read_table(address)
        rows = list(table)
        print(json.dumps({"source": table.source, "rows": len(rows), "first": rows[0], "last": rows[-1]}))
    except pillm.PillmError as error:
        print(json.dumps({"error": type(error).__name__, "code": error.exit_code, "message": str(error)}))
print(json.dumps(sorted({"torch", "datasets", "pandas"} & set(sys.modules))))
"""


def ask(endpoint: str, home: Path, *addresses: str, **more: str) -> list[Any]:
    """Read tables in a process of its own, which reads the hub's address at its start."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *addresses],
        env=env | more, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *answers, loaded = map(json.loads, done.stdout.splitlines())
    assert loaded == []
    return answers


def test_a_split_is_read_at_one_commit_and_only_its_files_are_fetched(hub: str, tmp_path: Path) -> None:
    whole, some, share, last, test = ask(
        hub, tmp_path, "hf://acme/rows", "hf://acme/rows?split=train[:1000]", "hf://acme/rows?split=train[10%:20%]",
        "hf://acme/rows?split=train[-2:]", "hf://acme/rows?split=test",
    )  # fmt: skip
    assert whole["source"] == f"hf://acme/rows@{COMMIT}?split=train"
    assert (whole["rows"], whole["last"]) == (1201, ["train-1.jsonl:1", {"question": "last", "level": 3}])
    assert (some["rows"], some["last"]) == (1000, ["train-0.jsonl:1000", {"question": "q999", "level": 9}])
    assert (share["rows"], share["first"][1]["question"]) == (120, "q120")
    assert (last["rows"], last["first"][1]["question"]) == (2, "q1199")
    assert (test["rows"], test["first"]) == (2, ["test.csv:2", {"question": "a", "level": "1"}])
    fetched = {path for path, _ in Hub.asked if "/resolve/" in path}
    assert {path.rpartition("/")[2] for path in fetched} == {"train-0.jsonl", "train-1.jsonl", "test.csv"}
    assert all(COMMIT in path for path in fetched)


def test_the_first_rows_do_not_fetch_the_files_after_them(hub: str, tmp_path: Path) -> None:
    ask(hub, tmp_path, "hf://acme/rows?split=train[:1200]")
    assert not [path for path, _ in Hub.asked if path.endswith("train-1.jsonl")]


def test_a_pinned_address_stays_what_it_was_while_the_branch_moves_on(hub: str, tmp_path: Path) -> None:
    (before,) = ask(hub, tmp_path, "hf://acme/rows?split=test")
    Hub.head = NEWER
    again, now = ask(hub, tmp_path, before["source"], "hf://acme/rows?split=test")
    assert again == before
    assert now["source"] == f"hf://acme/rows@{NEWER}?split=test"


def test_a_download_that_is_cut_goes_on_where_it_stopped(hub: str, tmp_path: Path) -> None:
    (found,) = ask(hub, tmp_path, "hf://acme/rows?file=big.csv")
    assert found.get("rows") == 40_000, found
    ranges = [asked for path, asked in Hub.asked if path.endswith("big.csv") and asked]
    assert len(ranges) == 1
    first = int(ranges[0].removeprefix("bytes=").rstrip("-"))
    print(f"cut, and resumed at byte {first} of {len(FILES['big.csv'])}")
    assert first > len(FILES["big.csv"]) // 4
    before = len(Hub.asked)
    assert ask(hub, tmp_path, "hf://acme/rows?file=big.csv") == [found]
    assert not [path for path, _ in Hub.asked[before:] if "/resolve/" in path], "what is here is not fetched again"


def test_neither_code_nor_pickles_nor_another_content_come_in(hub: str, tmp_path: Path) -> None:
    code, pickle, wrong, parquet = ask(
        hub, tmp_path, "hf://acme/rows?file=load.py", "hf://acme/rows?file=rows.pkl", "hf://acme/rows?file=wrong.csv",
        "hf://acme/rows?file=vectors.parquet",
    )  # fmt: skip
    assert [(found["error"], found["code"]) for found in (code, pickle)] == [("UnsafeError", 6)] * 2
    assert (wrong["error"], wrong["code"]) == ("Unavailable", 5)
    assert "another content than the hub lists" in wrong["message"]
    assert (parquet["error"], parquet["code"]) == ("MissingDependency", 4)
    assert "pillm-hf[parquet]" in parquet["message"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".py", ".pkl", ".parquet")]


def test_a_refusal_of_the_hub_says_what_to_do(hub: str, tmp_path: Path) -> None:
    found = ask(
        hub, tmp_path, "hf://acme/gone", "hf://acme/gated", "hf://acme/rows?revision=nightly", "hf://acme/rows?split=dev",
        "hf://acme/rows?split=test[:9]", "hf://acme/rows?splt=test",
    )  # fmt: skip
    wanted = [
        ("DataError", "the hub has no data set 'acme/gone'"),
        ("Unavailable", "Accept its terms"),
        ("DataError", "no revision 'nightly'"),
        ("DataError", "has no split 'dev'"),
        ("DataError", "goes to row 9, and there are only 2"),
        ("DataError", "is not understood"),
    ]
    for answer, (error, said) in zip(found, wanted, strict=True):
        assert answer["error"] == error
        assert said in answer["message"]


@pytest.mark.parametrize("more", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_out_of_reach_is_told(hub: str, tmp_path: Path, more: dict[str, str]) -> None:
    (found,) = ask(hub, tmp_path, "hf://acme/rows", **more)
    assert (found["error"], found["code"]) == ("Unavailable", 5)
    assert "or give a file" in found["message"]
