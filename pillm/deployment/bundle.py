"""What is brought to a board: the model file and, in one small archive, all that is needed to serve and to check it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pillm import __version__
from pillm.artifacts import ModelFile
from pillm.contract import Contract
from pillm.deployment.profile import GRAMMAR_FILE, TEMPLATE_FILE, Profile
from pillm.deployment.smoke import AnyTest, SmokeTest, smoke_to_json
from pillm.errors import ConfigError
from pillm.records import JSONObject, Message, canonical

VERSION = 2
SCHEMA_FILE = "answer.schema.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model file, the contract it was trained under, its smoke tests, and the form of its answers where they share one."""

    model: ModelFile
    contract: Contract
    smoke: tuple[AnyTest, ...]
    schema: JSONObject | None = None
    grammar: str | None = None
    """The grammar that the exporter made of the schema."""
    constrained: bool | None = None
    """Whether the server holds every answer to the grammar, unless a request says otherwise; None: as it does there."""
    held: tuple[AnyTest, ...] = ()
    """The smoke tests for a server that holds answers to the grammar, where `constrained` does not say so."""
    system: Message | None = None
    """The system message that was before every row in training."""
    template: str | None = None
    """The file's chat template with that message put before messages that have none; None: there is none, or it cannot be."""
    pooling: str | None = None
    """How a file that turns texts into vectors makes one of a text's tokens; None: the file answers."""
    notes: tuple[str, ...] = ()
    """What a person should know of the file."""

    def served(self, *, constrained: bool, system: bool, greedy: bool) -> Bundle:
        """Return the bundle for a server that holds answers to the grammar, adds the system message, and is greedy, or not.

        One smoke test is asked as a caller asks: without what the server adds by itself. Raises ConfigError where there is no
        grammar.
        """
        if constrained and self.grammar is None:
            raise ConfigError(
                f"answers there are held to a grammar, and {self.model.label} comes with none. Export it again with the schema "
                "of its rows, or say --free. Nothing was sent."
            )
        smoke = self.held if constrained and not self.constrained and self.held else self.smoke
        if not isinstance(first := smoke[0], SmokeTest):
            return replace(self, constrained=constrained)
        first = replace(first, plain=greedy)
        if system and self.system and first.messages[:1] == (self.system,):
            first = replace(first, messages=first.messages[1:])
        template = self.template if system else None
        return replace(self, constrained=constrained, smoke=(first, *smoke[1:]), template=template)

    def release(self, profile: Profile) -> str:
        """Return the name of the release: what it serves and how, in twelve hexadecimal digits."""
        told = [
            VERSION, self.model.sha256, self.model.label, self.contract.hash, smoke_to_json(self.smoke), self.schema,
            self.grammar, self.template, asdict(profile),
        ]  # fmt: skip
        return hashlib.sha256(canonical(told).encode()).hexdigest()[:12]

    def archive(
        self, release: str, arguments: Sequence[str], settings: JSONObject, memory: Mapping[str, int] | None = None
    ) -> bytes:
        """Return the release's folder, all but the model file, as a tar archive that is the same for the same release.

        `settings` are how it is served, `memory` the bytes that it needs, by purpose.
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
        if self.template is not None:
            files[TEMPLATE_FILE] = self.template
        manifest: JSONObject = {
            "version": VERSION, "release": release, "model": self.model.label, "quant": self.model.quant,
            "bytes": self.model.bytes, "memory": dict(memory or {}), "settings": settings, "system": self.system,
            "pillm": __version__,
        }  # fmt: skip
        return archive_of(files, manifest, self.model.sha256)


def archive_of(files: Mapping[str, str], manifest: JSONObject, model_sha256: str) -> bytes:
    """Return the files of a release, its manifest and their sums as a tar archive."""
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    sums["model.gguf"] = model_sha256
    texts = {**files, "manifest.json": _text({**manifest, "files": sums})}
    sums = {**sums, "manifest.json": hashlib.sha256(texts["manifest.json"].encode()).hexdigest()}
    texts["sums"] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in sorted(texts.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text.encode()), 0o600
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def _text(value: JSONObject) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
