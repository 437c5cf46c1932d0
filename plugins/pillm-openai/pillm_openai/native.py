"""What llama-server and Ollama tell of themselves beside the API that they share with OpenAI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pillm
from pillm_openai.address import is_here, is_near, server_name
from pillm_openai.wire import headers_for

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
        self._root = url.rstrip("/").removesuffix("/v1")
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
            raise pillm.Unavailable(
                f"{self.name} cannot be asked ({type(error).__name__}). Start the server there; the same command asks again."
            ) from error
        return found if isinstance(found, dict) else None

    def served(self, model: pillm.ModelFile, named: str | None) -> Served:
        """Return what is served, as far as the server tells; raise ConfigError where it is another file than `model`."""
        listed = self._listed(named)
        if props := self.ask("/props"):
            path = str(props.get("model_path") or "")
            return Served(*self._by_path(path, model), listed)
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
        data = (self.ask("/v1/models") or {}).get("data")
        names = [str(one.get("id")) for one in data if isinstance(one, dict)] if isinstance(data, list) else []
        if len(names) != 1:
            raise pillm.ConfigError(
                f"{self.name} serves {', '.join(names[:5]) or 'no model that it lists'}. Name the one to ask: -o model=NAME"
            )
        return names[0]

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

    def timed(self, pp: int, tg: int) -> tuple[float, float]:
        """Return the tokens per second of reading `pp` tokens and of writing `tg`, as llama-server times itself.

        Raises BackendError for a server that does not.
        """
        found = self.ask("/completion", {
            "prompt": self._tokens(pp), "n_predict": tg + 1, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
        })  # fmt: skip
        try:
            timings = (found or {})["timings"]
            read, written = int(timings["prompt_n"]), int(timings["predicted_n"])
            speeds = float(timings["prompt_per_second"]), float(timings["predicted_per_second"])
        except (LookupError, TypeError, ValueError) as error:
            raise pillm.BackendError(
                f"{self.name} tells no timings as llama-server does, so runner 'server' cannot time it. Time the file "
                "with runner 'local' or 'pi4'."
            ) from error
        if read != pp or written < tg or min(speeds) <= 0:
            raise pillm.BackendError(
                f"{self.name} read {read} tokens and wrote {written} where {pp} and {tg + 1} were asked for: its context "
                "may be shorter. Ask for fewer."
            )
        return speeds

    def _tokens(self, count: int) -> list[int]:
        """Return so many tokens of a text, which is what llama-server takes in its place."""
        found = (self.ask("/tokenize", {"content": _TEXT * (1 + _FEWEST // 16)}) or {}).get("tokens")
        ids = [one for one in found if isinstance(one, int)] if isinstance(found, list) else []
        return (ids * (1 + count // len(ids)))[:count] if ids else [1] * count
