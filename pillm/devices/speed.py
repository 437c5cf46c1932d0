"""How fast a model is on a device: arithmetic over the bytes and weights of its matrices.

Decode computes one matrix after the other, and each waits for the slower of two: memory, which delivers its bytes, or the
cores, which unpack and multiply its weights. So 1/tg = sum over storage types of max(bytes / bandwidth, weights * cycles /
(cores * clock)) + cache / bandwidth + layers * overhead, where the maximum is a smooth one. Prefill counts cycles alone.
The constants are fitted on published rows (`python -m tests.benchmarks.planning`); what nobody measured is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillm.devices.profile import DeviceProfile
from pillm.devices.shapes import ModelShape

KV_PAD = 256
"""llama.cpp reads its cache in steps of so many cells."""
KV_BYTES = 2
PP, PP_BATCH = 512, 512
"""The prompt and the batch of `pp512`, as llama-bench takes them."""
_SHARPNESS = 8
"""Of the smooth maximum; from 6 on the published rows hardly tell."""
_TRUSTED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a token costs: bytes and weights by storage type, the cache, the layers and the attention."""

    bytes: Mapping[str, float]
    weights: Mapping[str, float]
    """Of every matrix that decode reads, the head among them."""
    body: Mapping[str, float]
    """Weights without the head: prefill computes that once, not for every token."""
    head_bytes: float
    kv_bytes: int
    """Bytes of cache that a token adds."""
    layers: int
    attention: int
    """Multiply-adds of the attention per token and token of context."""
    window: int = 0
    """How many tokens back windowed layers look; 0: there are none."""
    windowed: float = 0.0
    """The part of the cache, and of the attention, that is theirs."""


def load_of(shape: ModelShape) -> Load:
    """Return what a token of a model costs."""
    sizes: dict[str, float] = {}
    weights: dict[str, float] = {}
    body: dict[str, float] = {}
    head = 0.0
    for one in shape.streamed:
        share = shape.used(one)
        sizes[one.type] = sizes.get(one.type, 0.0) + one.bytes * share
        weights[one.type] = weights.get(one.type, 0.0) + one.weights * share
        if one.name == shape.head:
            head = float(one.bytes)
        else:
            body[one.type] = body.get(one.type, 0.0) + one.weights * share
    return Load(
        bytes=sizes,
        weights=weights,
        body=body,
        head_bytes=head,
        kv_bytes=shape.kv_per_token * KV_BYTES,
        layers=shape.layers,
        attention=2 * shape.layers * shape.heads * shape.head_size,
        window=shape.window,
        windowed=shape.kv_windowed / shape.kv_per_token if shape.window and shape.kv_per_token else 0.0,
    )


def padded(tokens: int) -> int:
    """Return the cells that llama.cpp takes for so many tokens."""
    return -(-tokens // KV_PAD) * KV_PAD


def window_cells(window: int, profile: DeviceProfile, tokens: int) -> int:
    """Return the cells that a layer has which looks `window` tokens back (0: at all), with so many tokens before it.

    Beside the window there is room for a batch; where a program keeps windows whole, they are as long as the context.
    """
    cells = padded(max(tokens, 1))
    return min(cells, padded(window + profile.ubatch)) if window and not profile.swa_full else cells


def decode_seconds(load: Load, profile: DeviceProfile, depth: int = KV_PAD) -> float | None:
    """Return the seconds of one token with so many before it, or None where nobody knows."""
    if profile.bandwidth_gbps is None:
        return None
    rate, clock = profile.bandwidth_gbps * 1e9, _clock(profile, profile.threads)
    total = profile.token_ms / 1e3 + profile.layer_ms / 1e3 * load.layers
    for type_, size in load.bytes.items():
        cycles = profile.cycles_in_decode(type_)
        if cycles is None or (cycles and clock is None):
            return None
        total += _slower(size / rate, load.weights[type_] * cycles / clock if clock else 0.0)
    cells = _cells(load, profile, depth)
    total += min(cells, KV_PAD) * load.kv_bytes / rate
    if cells > KV_PAD:  # deeper than what was measured: the attention may take longer than its cache
        attention = load.attention * profile.attention_cycles / clock if clock else 0.0
        total += (cells - KV_PAD) * _slower(load.kv_bytes / rate, attention)
    return total


def _cells(load: Load, profile: DeviceProfile, depth: int) -> float:
    """Return the cells that a token looks at, in the mean of the layers."""
    return (1 - load.windowed) * padded(max(depth, 1)) + load.windowed * window_cells(load.window, profile, depth)


def decode_speed(shape: ModelShape, profile: DeviceProfile) -> float | None:
    """Return tokens per second of tg128 from an empty context, or None where the device is not calibrated."""
    seconds = decode_seconds(load_of(shape), profile.at(shape.file_bytes))
    return 1 / seconds if seconds else None


def prefill_seconds(load: Load, profile: DeviceProfile, tokens: int, *, depth: int = 0, batch: int = PP_BATCH) -> float | None:
    """Return the seconds of a prompt of so many tokens after `depth` others, or None where nobody knows.

    In each batch every token attends to all that is there when the batch ends.
    """
    clock = _clock(profile, profile.threads_batch or profile.cores)
    if clock is None or not profile.cycles or any(type_ not in profile.cycles for type_ in load.body):
        return None
    cycles = tokens * sum(weights * profile.cycles[type_] for type_, weights in load.body.items())
    done = 0
    while done < tokens:
        taken = min(batch, tokens - done)
        done += taken
        seen = depth + done
        near = min(seen, window_cells(load.window, profile, seen))
        looked = (1 - load.windowed) * seen + load.windowed * near
        cycles += taken * looked * load.attention * profile.attention_cycles
    return cycles / clock


def prefill_speed(shape: ModelShape, profile: DeviceProfile) -> float | None:
    """Return tokens per second of pp512, or None where cycles of one of its storage types are not known."""
    seconds = prefill_seconds(load_of(shape), profile.at(shape.file_bytes), PP)
    return PP / seconds if seconds else None


def first_token_seconds(load: Load, profile: DeviceProfile, prompt: int, *, saved: int = 0) -> float | None:
    """Return the time to the first token of a prompt whose first `saved` tokens come from a state on disk, model loaded."""
    saved = min(saved, max(prompt - 1, 0))
    computed = prefill_seconds(load, profile, prompt - saved, depth=saved, batch=profile.ubatch)
    if computed is None or profile.bandwidth_gbps is None:
        return None
    restored = kept_bytes(load, profile, saved) / (profile.disk_mbps * 1e6) if saved and profile.disk_mbps else 0.0
    return computed + load.head_bytes / (profile.bandwidth_gbps * 1e9) + restored


def kept_bytes(load: Load, profile: DeviceProfile, tokens: int) -> int:
    """Return the bytes of the state of so many tokens; layers with a window keep no more than that."""
    near = min(tokens, window_cells(load.window, profile, tokens))
    return int(((1 - load.windowed) * tokens + load.windowed * near) * load.kv_bytes)


def answer_seconds(load: Load, profile: DeviceProfile, prompt: int, answer: int, *, saved: int = 0) -> float | None:
    """Return the seconds from the request to the last token of an answer, with the model loaded; None where nobody knows."""
    first = first_token_seconds(load, profile, prompt, saved=saved)
    middle = decode_seconds(load, profile, prompt + answer // 2)
    return None if first is None or middle is None else first + max(answer - 1, 0) * middle


def interval(speed: float | None, error: float | None) -> tuple[float, float] | None:
    """Return where nine in ten speeds like this one were found; None where that is not known."""
    return (speed / (1 + error), speed * (1 + error)) if speed and error else None


def well_known(load: Load, profile: DeviceProfile, table: str) -> bool:
    """Say whether every storage type's cycles were measured: nothing is known of how far estimates err."""
    if table == "decode_cycles" and not profile.decode_factor:
        facts = [profile.facts.get(key) for key in ("bandwidth_gbps", *(f"decode_cycles.{type_}" for type_ in load.weights))]
        return all(fact is None or fact.trust >= _TRUSTED for fact in facts)
    types = load.body if table == "cycles" else load.weights
    facts = [profile.facts.get(f"decode_cycles.{type_}", profile.facts.get(f"cycles.{type_}")) for type_ in types]
    return all(fact is not None and fact.trust >= _TRUSTED for fact in facts)


def without_memory(seconds: float, memory: float) -> float:
    """Return what the cores alone take where a decode takes `seconds` and memory alone `memory`: the inverse of the model."""
    return float((seconds**_SHARPNESS - memory**_SHARPNESS) ** (1 / _SHARPNESS)) if seconds > memory else 0.0


def _clock(profile: DeviceProfile, cores: int | None) -> float | None:
    """Return the cycles per second of so many cores together."""
    used = cores or profile.cores
    return used * profile.ghz * 1e9 if used and profile.ghz else None


def _slower(memory: float, cores: float) -> float:
    """Return the smooth maximum of two times."""
    longer = max(memory, cores)
    if not longer:
        return 0.0
    return longer * float((1 + (min(memory, cores) / longer) ** _SHARPNESS) ** (1 / _SHARPNESS))
