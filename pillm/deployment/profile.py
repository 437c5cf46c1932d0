"""How a release is served, and the command line of llama-server for it on a board of 2 to 8 GB.

The server's own defaults take more memory than such a board has, sample with chance, and let an answer be endless.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pillm.deployment.keys import flags
from pillm.deployment.programs import LlamaProgram
from pillm.errors import ConfigError

GRAMMAR_FILE, TEMPLATE_FILE = "grammar.gbnf", "chat-template.jinja"
"""What a release has beside its model for the server to read."""
UBATCH = 128
"""Tokens that are computed at once; the buffer for logits grows with it."""
_SMALL: dict[str, object] = {
    "parallel": 1,
    "batch": 256,
    "ubatch": UBATCH,
    "cache_ram": 64,  # the default is 8 GiB of prompt cache
    "mmap": True,  # pages of the file can be given back; older versions do so unasked
    "metrics": True,
}
_ALIAS = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one release is served: the path of its server there, its limits, and what a request gets that says nothing else."""

    server: str
    context: int = 2048
    """Tokens that prompt and answer may have together."""
    threads: int = 4
    temperature: float = 0.0
    """Chance in an answer; 0 is greedy, as the file was scored."""
    predict: int = 512
    """Tokens of an answer at most."""
    constrained: bool = False
    """Whether the server holds every answer to the grammar."""
    system: bool = False
    """Whether the server puts the contract's system message before messages that have none."""
    pooling: str | None = None
    """How it makes one vector of a text's tokens, where it serves vectors and not answers."""
    key: str | None = None
    """The name of its API keys there; nothing is told of what they are."""


def mark(release: str) -> str:
    """Return the name by which a release's server can be told from others; it sorts behind the model's own."""
    return f"~{release}"


def model_link(sha256: str) -> str:
    """Return the name of the model file in a release: whoever asks the server can tell by it what it serves."""
    return f"{sha256[:16]}-model.gguf"


def arguments(
    program: LlamaProgram, release: str, profile: Profile, *, label: str, sha256: str
) -> tuple[list[str], tuple[str, ...]]:
    """Return the command line of a release's llama-server, and what this version of it does not know.

    Paths are relative to the release's folder. Raises ConfigError for a program that lacks what serving, the grammar or the API
    key needs.
    """
    alias = f"{_ALIAS.sub('_', label)},{mark(release)}"
    place = {"model": model_link(sha256), "host": f"../../run/{release}.sock", "alias": alias, "context": profile.context}
    threads = {"threads": profile.threads, "threads_batch": profile.threads}
    if profile.pooling:  # a text is read at once
        told: dict[str, object] = {"batch": profile.context, "ubatch": profile.context}
    else:
        told = {"temperature": f"{profile.temperature:g}", "predict": min(profile.predict, profile.context)}
    words, dropped = program.serving(**place, **{**_SMALL, **threads, **told})
    if profile.pooling:
        words += program.words(embedding=True, pooling=profile.pooling)
    if profile.system:
        words += program.words(template=TEMPLATE_FILE, jinja=program.knows("jinja"))
    if profile.constrained:
        if "--grammar-file" not in program.flags:
            raise ConfigError(f"{program.path} knows no --grammar-file, so it cannot hold answers to one. Nothing was sent.")
        words += ["--grammar-file", GRAMMAR_FILE]
    if profile.key and "--api-key-file" not in program.flags:
        raise ConfigError(f"{program.path} knows no --api-key-file, so it would answer without a key. Nothing was sent.")
    return _one_line_each([program.path, *words, *flags(profile.key)]), tuple(dropped)


def _one_line_each(words: Sequence[str]) -> list[str]:
    for word in words:
        if "\n" in word or "\0" in word or not word:
            raise ConfigError(f"{word!r} cannot stand on the server's command line.")
    return list(words)
