"""A model hub in this process: real sockets and enough of the Hugging Face hub's API to fetch from it and to publish on it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pillm.testing.hubstate import FakeRepository, JSONObject, git_hash, is_large

_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES = {
    "info": ("GET", rf"/api/models/{_REPO}(/revision/{_REVISION})?"),
    "access": ("GET", rf"/api/models/{_REPO}/auth-check(/(?P<write>write))?"),
    "file": ("GET", rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)"),
    "large": ("GET", r"/large/(?P<oid>[0-9a-f]{64})"),
    "create": ("POST", r"/api/repos/create"),
    "card": ("POST", r"/api/validate-yaml"),
    "modes": ("POST", rf"/api/models/{_REPO}/preupload/{_REVISION}"),
    "batch": ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch"),
    "upload": ("PUT", r"/large/(?P<oid>[0-9a-f]{64})"),
    "commit": ("POST", rf"/api/models/{_REPO}/commit/{_REVISION}"),
    "paths": ("POST", rf"/api/models/{_REPO}/paths-info/{_REVISION}"),
    "tag": ("POST", rf"/api/models/{_REPO}/tag/{_REVISION}"),
}


@dataclass(frozen=True, slots=True)
class HubCall:
    """One request as the hub received it."""

    method: str
    path: str
    port: int
    token: str
    """What the Authorization header said; empty where it was not sent."""
    range: str
    sent: int
    """How many bytes of a body came with it."""
    agent: str = ""
    """What the program says of itself."""


class FakeHub:
    """A hub for tests on 127.0.0.1; a context manager. Large files are served from another port, as a network of stores is.

    `refuse` maps a route, such as "info" or "batch", to a status and headers; `cut` says after how many bytes of a file the
    connection breaks, once for each entry; `forge` maps file names to bytes that are served in place of the listed ones;
    `moved` maps old names to new ones; `slow` is a pause in seconds before each 64 KiB of a file; without `ranges` a file
    always comes whole. `calls` holds every request.
    """

    def __init__(self, token: str = "hf_" + "secret" * 5) -> None:
        self.token = token
        self.repositories: dict[str, FakeRepository] = {}
        self.large: dict[str, bytes] = {}
        self.calls: list[HubCall] = []
        self.refuse: dict[str, tuple[int, dict[str, str]]] = {}
        self.cut: list[int] = []
        self.forge: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.slow = 0.0
        self.ranges = True
        self._servers = [_Server(self), _Server(self)]
        self._threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in self._servers]

    @property
    def endpoint(self) -> str:
        """Return the address to give as HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def stores(self) -> str:
        """Return the address that large files are served from."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def put(self, name: str, files: Mapping[str, bytes], *, private: bool = False, gated: bool = False) -> str:
        """Let a repository's branch main hold exactly these files; return the commit."""
        found = self.repositories.setdefault(name, FakeRepository(name))
        found.private, found.gated = private, gated
        self.large |= {hashlib.sha256(data).hexdigest(): data for path, data in files.items() if is_large(path)}
        return found.commit(files)

    def read(self) -> list[str]:
        """Return the paths of the files that were served, in order."""
        return [call.path for call in self.calls if "/resolve/" in call.path and call.method == "GET"]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message, **headers}


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        hub, split = self.server.hub, urlsplit(self.path)
        self._asked, self._query = split.path, parse_qs(split.query)
        body = self._body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        port, part = self.server.server_port, self.headers.get("Range", "")
        hub.calls.append(HubCall(self.command, self._asked, port, token, part, len(body), self.headers.get("User-Agent", "")))
        method = "GET" if self.command == "HEAD" else self.command
        try:
            for name, (verb, pattern) in ROUTES.items():
                found = re.fullmatch(pattern, self._asked)
                if found and verb == method:
                    if name in hub.refuse:
                        status, headers = hub.refuse[name]
                        raise _Refused(status, **headers)
                    named = {key: unquote(value) for key, value in found.groupdict().items() if value}
                    getattr(self, f"_{name}")(body, **named)
                    return
            raise _Refused(404)
        except _Refused as error:
            self._send(error.status, b"{}", {name: value for name, value in error.headers.items() if value})

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that the server calls

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _repository(self, name: str, *, writing: bool = False, told: bool = False) -> FakeRepository:
        """Return a repository, or refuse it to a stranger; of a gated one anybody is `told`."""
        hub = self.server.hub
        known = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if name in hub.moved:
            raise _Refused(307, Location=self.path.replace(name, hub.moved[name]))
        found = hub.repositories.get(name)
        if writing and not known:
            raise _Refused(401, message="Invalid username or password.")
        if found is None or (found.private and not known):
            raise _Refused(404 if known or found is None else 401, "RepoNotFound")
        if found.gated and not known and not told:
            raise _Refused(403, "GatedRepo")
        return found

    def _at(self, found: FakeRepository, revision: str) -> str:
        commit = found.at(revision)
        if commit is None:
            raise _Refused(404, "RevisionNotFound")
        return commit

    def _info(self, _: bytes, repo: str, revision: str = "") -> None:
        found = self._repository(repo, told=True)
        commit = self._at(found, revision) if revision else found.refs.get("main", "0" * 40)
        self._json(found.told(commit))

    def _access(self, _: bytes, repo: str, write: str = "") -> None:
        self._repository(repo, writing=bool(write))
        self._json({})

    def _file(self, _: bytes, repo: str, revision: str, path: str) -> None:
        found = self._repository(repo)
        commit = self._at(found, revision)
        if path not in found.commits[commit]:
            raise _Refused(404, "EntryNotFound")
        listed = found.commits[commit][path]
        data = self.server.hub.forge.get(path, listed)
        oid = hashlib.sha256(listed).hexdigest() if is_large(path) else git_hash(listed)
        headers = {"ETag": f'"{oid}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{oid}"'}
        if is_large(path) and path not in self.server.hub.forge:
            self._send(302, b"", {**headers, "Location": f"{self.server.hub.stores}/large/{oid}?signature=signed"})
        else:
            self._part(data, headers)

    def _large(self, _: bytes, oid: str) -> None:
        data = self.server.hub.large.get(oid)
        if data is None:
            raise _Refused(404)
        self._part(data, {"ETag": f'"{oid}"'})

    def _part(self, data: bytes, headers: dict[str, str]) -> None:
        """Send what the Range header asks for; where the next cut is due, less than that."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.server.hub.ranges else None
        rest = data[int(wanted[1]) :] if wanted else data
        cut = self.server.hub.cut.pop(0) if self.server.hub.cut and len(rest) > 1000 and self.command == "GET" else None
        self._send(206 if wanted else 200, rest, headers, only=cut)

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if self.headers.get("Authorization") != f"Bearer {self.server.hub.token}":
            raise _Refused(401, message="Invalid username or password.")
        if name in self.server.hub.repositories:
            raise _Refused(409)
        self.server.hub.repositories[name] = FakeRepository(name, private=asked.get("visibility") == "private")
        self._json({"url": f"{self.server.hub.endpoint}/{name}"})

    def _card(self, body: bytes) -> None:
        text = str(json.loads(body)["content"])
        wrong = [] if text.startswith("---\n") else [{"message": "empty or missing yaml metadata in repo card"}]
        self._json({"warnings": wrong, "errors": []})

    def _modes(self, body: bytes, repo: str, revision: str) -> None:
        found, files = self._repository(repo, writing=True), json.loads(body)["files"]
        self._json({"files": [_mode(found, file["path"]) for file in files]})

    def _batch(self, body: bytes, repo: str) -> None:
        self._repository(repo, writing=True)
        objects = json.loads(body)["objects"]
        for each in objects:
            if each["oid"] not in self.server.hub.large:
                each["actions"] = {"upload": {"href": f"{self.server.hub.stores}/large/{each['oid']}?signature=signed"}}
        self._json({"transfer": "basic", "objects": objects})

    def _upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400)
        self.server.hub.large[oid] = body
        self._send(200, b"", {})

    def _commit(self, body: bytes, repo: str, revision: str) -> None:
        found = self._repository(repo, writing=True)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        files = dict(found.head)
        for operation in operations:
            value = operation["value"]
            large = operation["key"] == "lfsFile"
            files[value["path"]] = self.server.hub.large[value["oid"]] if large else base64.b64decode(value["content"])
        commit = found.commit(files, header["value"]["summary"], revision)
        self._json({"commitUrl": f"{self.server.hub.endpoint}/{repo}/commit/{commit}", "commitOid": commit})

    def _paths(self, body: bytes, repo: str, revision: str) -> None:
        found = self._repository(repo)
        self._json(found.tree(self._at(found, revision), parse_qs(body.decode())["paths"]))

    def _tag(self, body: bytes, repo: str, revision: str) -> None:
        found, name = self._repository(repo, writing=True), json.loads(body)["tag"]
        if name in found.refs:
            raise _Refused(409)
        found.refs[name] = self._at(found, revision)
        self._json({})

    def _json(self, value: JSONObject | list[Any]) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], only: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        body = b"" if self.command == "HEAD" else body[:only]
        with suppress(ConnectionError):  # whoever asked was killed, or has enough
            for start in range(0, len(body), 65536):
                time.sleep(self.server.hub.slow)
                self.wfile.write(body[start : start + 65536])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _mode(found: FakeRepository, path: str) -> JSONObject:
    """Return how a file is to be sent, and what is there under its name."""
    there = found.head.get(path)
    large = is_large(path)
    oid = None if there is None else hashlib.sha256(there).hexdigest() if large else git_hash(there)
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
