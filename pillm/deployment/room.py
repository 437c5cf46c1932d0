"""Whether a board has the memory for one more model beside those that answer there: the planner's figures at the context."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pillm.artifacts import ModelFile
from pillm.deployment.profile import UBATCH
from pillm.devices.detection import processor_flags
from pillm.devices.memory import MIB, serving_memory
from pillm.devices.repacking import repacked_by
from pillm.devices.shapes import ModelShape, shape_of
from pillm.devices.speed import KV_PAD
from pillm.errors import ConfigError
from pillm.records import JSONObject
from pillm.remote.endings import size

if TYPE_CHECKING:
    from pillm.deployment.place import Place

PROMPT_CACHE = 64 * MIB
"""What the server may keep of earlier prompts, as its command line says."""
_LEAST_CONTEXT = 64
_MAPPED = """for record in "$HOME"/.local/share/pillm/served/*/run/*.server; do
  read -r pid _ 2>/dev/null <"$record" && grep -qaF model.gguf "/proc/$pid/cmdline" 2>/dev/null || continue
  release=${record##*/}
  file=$(readlink -- "${record%/run/*}/releases/${release%.server}/model.gguf")
  printf '%s %s\\n' "$(sed -n 's/^RssFile:[[:space:]]*\\([0-9]*\\) kB/\\1/p' "/proc/$pid/status")" "${file##*/}"
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a board can spare, in bytes: the weights of servers that run are mapped files, which the kernel calls available."""

    available: int
    mapped: int
    files: tuple[str, ...] = ()
    """The names of the files that are mapped."""
    flags: frozenset[str] = frozenset()
    """What the processor can do: on some, weights are held a second time in another order."""

    @property
    def left(self) -> int:
        """Return what one more server may take without the others' weights going back to the card."""
        return max(self.available - self.mapped, 0)


def room_on(place: Place) -> Room | None:
    """Return what a board can spare, or None where it does not tell."""
    available = place.remote.memory()
    if available is None:
        return None
    told = place.remote.script(_MAPPED, what="the look at the servers that run")
    rows = [line.partition(" ") for line in told.splitlines()]
    kept = [(int(kib), name) for kib, _, name in rows if kib.isdigit()]
    mapped, files = sum(kib for kib, _ in kept) * 1024, tuple(name for _, name in kept)
    return Room(available=available, mapped=mapped, files=files, flags=processor_flags(place.remote))


def memory_of(model: Path, context: int, flags: Collection[str] = ()) -> dict[str, int]:
    """Return the bytes that a server needs by purpose, at so many tokens, on a processor with these flags.

    Raises what `shape_of` raises.
    """
    return _needs(shape_of(model), context, flags)


def _needs(shape: ModelShape, context: int, flags: Collection[str]) -> dict[str, int]:
    needs = serving_memory(shape, context, ubatch=UBATCH, flags=flags)
    return {**needs, "buffers": needs["buffers"] + PROMPT_CACHE}


def missing(needs: Mapping[str, int], room: Room, sha256: str) -> int:
    """Return how many bytes a model lacks there, 0 where it fits; a file that is mapped already is not counted twice."""
    shared = any(name.startswith(sha256[:16]) for name in room.files)
    return max(sum(needs.values()) - (needs["weights"] if shared else 0) - room.left, 0)


def check_room(place: Place, model: ModelFile, context: int) -> tuple[str, ...]:
    """Return what a model needs there beside what runs, in words; raise ConfigError where the board has not that much."""
    shape = shape_of(model)
    room = room_on(place)
    if room is None:
        return ()
    needs = _needs(shape, context, room.flags)
    if missing(needs, room, model.sha256):
        said = _refusal(place.remote.host, model.label, needs, room)
        raise ConfigError(f"{said} Nothing was sent. {_advice(shape, context, room, place)}")
    said = f"{size(sum(needs.values()))} of memory are needed at {context} tokens of context; {size(room.left)} are left there"
    if sum(needs.values()) - needs["weights"] + model.bytes > room.left:
        said += "; it loads slower for it: pages of the file are given back while its weights are laid out anew"
    return (said,)


def check_room_again(place: Place, manifest: JSONObject) -> None:
    """Raise ConfigError where a release that is there has no room beside what runs; one of an older pillm is not known."""
    told, sums = manifest.get("memory"), manifest.get("files")
    if not isinstance(told, dict) or not isinstance(sums, dict):
        return
    needs = {name: int(told[name]) for name in ("weights", "kv_cache", "buffers") if isinstance(told.get(name), int)}
    room = room_on(place)
    if room is None or len(needs) < 3:
        return
    if missing(needs, room, str(sums.get("model.gguf"))):
        said = _refusal(place.remote.host, str(manifest.get("model")), needs, room)
        raise ConfigError(f"{said} Nothing was changed. Free memory there and run the same command again.")


def _refusal(host: str, label: str, needs: Mapping[str, int], room: Room) -> str:
    """Return what is needed and what is there."""
    anew = ", the program and weights that it lays out anew" if repacked_by(room.flags) else " and the program"
    beside = f" beside the {size(room.mapped)} of the model that answers now" if room.mapped else ""
    return (
        f"{host}: {label} needs {size(sum(needs.values()))} of memory there ({size(needs['weights'])} for its weights, "
        f"{size(needs['kv_cache'])} for keys and values, {size(needs['buffers'])} for buffers{anew}), and "
        f"{size(room.left)} are left{beside}."
    )


def _advice(shape: ModelShape, context: int, room: Room, place: Place) -> str:
    """Return what would fit, by the same figures."""
    fitting = [tokens for tokens in _shorter(context) if sum(_needs(shape, tokens, room.flags).values()) <= room.left]
    if fitting:
        return f"With --context {fitting[0]} it fits."
    needs = _needs(shape, context, room.flags)
    alone = sum(needs.values()) <= room.available
    file = room.left - (sum(needs.values()) - shape.file_bytes)  # of a smaller file, a copy would be smaller too
    said = [f"A file of {size(file)} would fit at this context."] if file > 8 * MIB else []
    if alone and room.mapped and place.current:
        said.append(
            f"It fits alone: end the other there with `sh {place.root}/serve.sh stop`, and deploy this one under another "
            "--name; nothing answers meanwhile."
        )
    return " ".join(said) or "Choose a smaller model, or free memory there."


def _shorter(context: int) -> list[int]:
    """Return smaller contexts, the largest first."""
    return [*range((context - 1) // KV_PAD * KV_PAD, 0, -KV_PAD), *([_LEAST_CONTEXT] if context > _LEAST_CONTEXT else [])]
