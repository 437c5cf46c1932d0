"""What llama-server and Ollama tell of themselves beside the API that they share with OpenAI."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pillm
from pillm_openai.address import is_here, is_near, server_name
from pillm_openai.faults import server_words, without
from pillm_openai.likeness import unlike
from pillm_openai.wire import MAX_BODY, headers_for

Proof: TypeAlias = Literal["bytes", "name", "none"]
"""How it is known that a server serves a file: by the hash of its bytes, by its name, or not at all."""

_BLOB = re.compile(r"^FROM \S*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)
_HASHED = re.compile(r"([0-9a-f]{16})-.+\.gguf")
_ANY_NAME = "model.gguf"  # what a deployed release calls every file
_TEXT = "the quick brown fox jumps over the lazy dog and then it runs home again. "
_FEWEST = 64


@dataclass(frozen=True, slots=True)
class Served:
    """What a server serves: how that is known, in a word and in a sentence, and the name that it has for the model."""

    proof: Proof
    sentence: str
    model: str


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Tokens per second of reading and of writing as a server says, and when its tokens arrived here (`time.monotonic`)."""

    read_tps: float
    written_tps: float
    arrivals: tuple[float, ...]


class Native:
    """A server asked by paths of its own; `url` is the address of its OpenAI-compatible API."""

    def __init__(self, url: str, secret: str, timeout: float) -> None:
        try:
            import httpx2
            import openai
        except ImportError as error:
            raise pillm.MissingDependency(
                f"runner 'server' needs the package openai ({error}): pip install 'openai>=3'"
            ) from error
        self.name, self._here = server_name(url), is_here(url)
        self._url, self._secret = url.rstrip("/"), secret
        self._root = self._url.removesuffix("/v1")
        self._props: dict[str, Any] | None = None
        self._broken = (httpx2.HTTPError, httpx2.InvalidURL, OSError)
        self._client = openai.DefaultHttpxClient(
            headers=headers_for(url, secret), timeout=timeout, follow_redirects=False, trust_env=not is_near(url)
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the JSON object behind a path, None where the server has none; raise Unavailable where nobody answers."""
        try:
            reply = self._client.request("GET" if body is None else "POST", f"{self._root}{path}", json=body)
            found = reply.json() if reply.status_code == 200 else None
        except ValueError:
            return None
        except self._broken as error:
            raise self._nobody(error) from error
        return found if isinstance(found, dict) else None

    def _nobody(self, error: Exception) -> pillm.Unavailable:
        return pillm.Unavailable(
            f"{self.name} cannot be asked ({type(error).__name__}). Start the server there; the same command asks again."
        )

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the JSON behind a path of the shared API; of a refusal, what the server says of it."""
        try:
            reply = self._client.post(f"{self._url}{path}", json=body)
            if reply.status_code != 200:
                return reply.status_code, without(self._secret, server_words(reply.content)[0])
            return 200, reply.json()
        except ValueError:
            return 200, None
        except self._broken as error:
            raise self._nobody(error) from error

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
        """Yield each event that a path streams, with when it arrived (`time.monotonic`); BackendError for a refusal."""
        size, rest = 0, b""
        # llama-server hangs up after a stream, at times only once the next request is on its way
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        # one that llama-server alone has is not below the path of the shared API
        url = f"{self._root if path == '/completion' else self._url}{path}"
        try:
            with self._client.stream("POST", url, json=body, headers=headers) as reply:
                if reply.status_code != 200:
                    said = without(self._secret, server_words(reply.read())[0])
                    raise pillm.BackendError(f"{self.name} answered {reply.status_code} to {path}: {said}")
                for part in reply.iter_bytes():
                    at, size = time.monotonic(), size + len(part)
                    if size > MAX_BODY:
                        raise pillm.BackendError(f"{self.name} streamed more than {MAX_BODY // 2**20} MiB.")
                    *lines, rest = (rest + part).split(b"\n")
                    yield from ((at, event) for event in map(_event, lines) if event is not None)
        except self._broken as error:
            raise self._nobody(error) from error

    def props(self) -> dict[str, Any]:
        """Return what llama-server tells of itself; empty for another server."""
        if self._props is None:
            self._props = self.ask("/props") or {}
        return self._props

    def is_llama_server(self) -> bool:
        """Say whether it tells of itself as llama-server does."""
        return bool(self.props())

    def context(self) -> int | None:
        """Return the tokens of one answer's context, where the server tells."""
        settings = self.props().get("default_generation_settings")
        found = settings.get("n_ctx") if isinstance(settings, dict) else None
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

    def build(self) -> str | None:
        """Return the build that the server tells."""
        found = self.props().get("build_info")
        return f"llama.cpp {found}" if isinstance(found, str) and found else None

    def served(self, model: pillm.ModelFile, named: str | None) -> Served:
        """Return what is served, as far as the server tells; raise ConfigError where it is another file than `model`."""
        listed = self._listed(named)
        if props := self.props():
            proof, sentence = self._by_path(str(props.get("model_path") or ""), model)
            if proof != "bytes" and (difference := unlike(self._meta(listed), model)):
                raise self._another(difference, model)
            return Served(proof, sentence, listed)
        shown = self.ask("/api/show", {"model": listed}) or {}
        if blob := _BLOB.search(str(shown.get("modelfile") or "")):
            if blob[1] != model.sha256:
                raise self._another(f"the model {listed} of sha256 {blob[1][:16]}", model)
            return Served("bytes", f"{self.name} names the sha256 of {model.path.name}", listed)
        return Served("none", f"{self.name} does not tell which file it serves", listed)

    def _listed(self, named: str | None) -> str:
        """Return the name to ask for: the one that was given, else the only one that the server lists."""
        if named:
            return named
        names = [str(one.get("id")) for one in self._models()]
        if len(names) != 1:
            raise pillm.ConfigError(
                f"{self.name} serves {', '.join(names[:5]) or 'no model that it lists'}. Name the one to ask: -o model=NAME"
            )
        return names[0]

    def _models(self) -> list[dict[str, Any]]:
        data = (self.ask("/v1/models") or {}).get("data")
        return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []

    def _meta(self, listed: str) -> dict[str, Any]:
        """Return what the server lists of the model of that name."""
        found = [
            one.get("meta") for one in self._models() if str(one.get("id")) == listed or listed in (one.get("aliases") or ())
        ]
        return found[0] if found and isinstance(found[0], dict) else {}

    def _by_path(self, path: str, model: pillm.ModelFile) -> tuple[Proof, str]:
        """Return what the path that a server opened says of a file."""
        there = Path(path)
        if self._here and there.is_file() and there.is_absolute():
            if pillm.sha256_file(there) != model.sha256:
                raise self._another(f"{path}, whose bytes are others", model)
            return "bytes", f"{self.name} serves {path}, which has the same bytes"
        if hashed := _HASHED.fullmatch(there.name):
            if hashed[1] != model.sha256[:16]:
                raise self._another(path, model)
            return "bytes", f"{self.name} serves a file that is named by the hash of {model.path.name}"
        if there.name == model.path.name:
            return (
                "name",
                f"{self.name} serves a file of the name {there.name}; its bytes cannot be told from here",
            )
        if there.name in ("", _ANY_NAME):
            return "none", f"{self.name} does not tell which file it serves"
        raise self._another(path, model)

    def _another(self, what: str, model: pillm.ModelFile) -> pillm.ConfigError:
        return pillm.ConfigError(
            f"{self.name} serves {what}, and not {model.path}. Nothing was asked. Start it with that file, or name "
            "the file that it serves."
        )

    def timed(self, pp: int, tg: int) -> Stopwatch:
        """Read `pp` tokens and write `tg` more than the first, as a stream, and return how fast that was.

        Raises BackendError for a server that does not time itself as llama-server does.
        """
        asked = {
            "prompt": self._tokens(pp), "n_predict": tg + 1, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
            "stream": True,
        }  # fmt: skip
        untold = pillm.BackendError(
            f"{self.name} tells no timings as llama-server does, so runner 'server' cannot time it. Time the file "
            "with runner 'local' or 'pi4'."
        )
        if not self.is_llama_server():
            raise untold
        arrivals, timings = [], None
        for at, event in self.stream("/completion", asked):
            timings = event.get("timings") or timings
            arrivals += [] if event.get("stop") else [at]
        try:
            read, written = int(timings["prompt_n"]), int(timings["predicted_n"])  # type: ignore[index]
            speeds = float(timings["prompt_per_second"]), float(timings["predicted_per_second"])  # type: ignore[index]
        except (LookupError, TypeError, ValueError) as error:
            raise untold from error
        if read != pp or written < tg or min(speeds) <= 0:
            raise pillm.BackendError(
                f"{self.name} read {read} tokens and wrote {written} where {pp} and {tg + 1} were asked for: its context "
                "may be shorter. Ask for fewer."
            )
        return Stopwatch(*speeds, tuple(arrivals))

    def _tokens(self, count: int) -> list[int]:
        """Return so many tokens of a text, which is what llama-server takes in its place."""
        found = (self.ask("/tokenize", {"content": _TEXT * (1 + _FEWEST // 16)}) or {}).get("tokens")
        ids = [one for one in found if isinstance(one, int)] if isinstance(found, list) else []
        return (ids * (1 + count // len(ids)))[:count] if ids else [1] * count


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event that a line of a stream holds; None where it holds none."""
    if not line.startswith(b"data:"):
        return None
    try:
        found = json.loads(line.removeprefix(b"data:"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
