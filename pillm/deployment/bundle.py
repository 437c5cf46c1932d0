"""What is brought to a board: the model file and, in one small archive, all that is needed to serve and to check it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from pillm import __version__
from pillm.artifacts import ModelFile
from pillm.contract import Contract
from pillm.deployment.smoke import SmokeTest, smoke_to_json
from pillm.records import JSONObject, canonical

VERSION = 1
SCHEMA_FILE, GRAMMAR_FILE = "answer.schema.json", "grammar.gbnf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model file, the contract it was trained under, its smoke tests, and the form of its answers where they share one."""

    model: ModelFile
    contract: Contract
    smoke: tuple[SmokeTest, ...]
    schema: JSONObject | None = None
    grammar: str | None = None
    """The grammar that the exporter made of the schema."""
    constrained: bool = False
    """Whether the server holds every answer to the grammar, unless a request says otherwise."""

    def release(self, server: str, context: int, threads: int, key: str | None = None) -> str:
        """Return the name of the release: what it serves and how, in twelve hexadecimal digits.

        `key` is the name of its API keys there: nothing is told of what they are.
        """
        told = [
            VERSION,
            self.model.sha256,
            self.contract.hash,
            smoke_to_json(self.smoke),
            self.schema,
            self.grammar,
            self.constrained,
        ]
        told += [server, context, threads, *([key] if key else [])]
        return hashlib.sha256(canonical(told).encode()).hexdigest()[:12]

    def limits(self) -> list[str]:
        """Return the words that make the server hold every answer to the grammar, where that is wanted."""
        if not self.constrained:
            return []
        return ["--grammar-file", GRAMMAR_FILE]

    def archive(self, release: str, arguments: list[str], memory: Mapping[str, int] | None = None) -> bytes:
        """Return the release's folder, all but the model file, as a tar archive that is the same for the same release.

        `memory` are the bytes that it needs, by purpose.
        """
        files = {
            "arguments": "".join(f"{word}\n" for word in arguments),
            "contract.json": _text(self.contract.to_json()),
            "smoke.json": _text(smoke_to_json(self.smoke)),
        }
        if self.schema is not None:
            files[SCHEMA_FILE] = _text(self.schema)
        if self.grammar is not None:
            files[GRAMMAR_FILE] = self.grammar
        sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        sums["model.gguf"] = self.model.sha256
        files["manifest.json"] = _text(
            {"version": VERSION, "release": release, "model": self.model.label, "quant": self.model.quant,
             "bytes": self.model.bytes, "memory": dict(memory or {}), "pillm": __version__, "files": sums}
        )  # fmt: skip
        sums["manifest.json"] = hashlib.sha256(files["manifest.json"].encode()).hexdigest()
        files["sums"] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, text in sorted(files.items()):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(text.encode()), 0o600
                tar.addfile(info, io.BytesIO(text.encode()))
        return out.getvalue()


def _text(value: JSONObject) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
