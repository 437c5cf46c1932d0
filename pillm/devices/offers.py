"""What would do instead of a model that does not fit a device, or that is slower there than it need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeAlias

from pillm.artifacts import Alternative
from pillm.devices import sound_devices
from pillm.devices.memory import fits, needed, roomy
from pillm.devices.profile import DeviceProfile
from pillm.devices.quants import BY_REQUEST, QUANTS, bits
from pillm.devices.shapes import ModelShape, from_config
from pillm.devices.speed import KV_PAD, decode_speed, prefill_speed
from pillm.devices.trust import extrapolated

_Enough: TypeAlias = Callable[[ModelShape, DeviceProfile, int], bool]
_FASTER = 1.15
_BEST = 2
"""How many of the quantisations that suit a device are named before the largest that would do."""
_HEAD_SHARE = 0.25
"""A head that takes more than this of what every token reads is worth naming."""
_STUDENTS = {
    "250M weights": (1024, 2816, 20, (16, 4, 64), 32768),
    "110M weights": (768, 2048, 12, (12, 4, 64), 32768),
    "60M weights": (768, 2048, 10, (12, 4, 64), 16384),
    "25M weights": (512, 1536, 8, (8, 2, 64), 16384),
}
"""Shapes whose rows divide by 256, with few key heads, tied embeddings and a small vocabulary."""


def faster(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[Alternative]:
    """Yield the device's own quantisations that are clearly faster than the one planned, and a smaller head."""
    speed = decode_speed(shape, profile)
    for quant in suited(shape, profile):
        other = shape.quantised(quant)
        rate = decode_speed(other, profile)
        if speed and rate and rate >= _FASTER * speed and roomy(other, profile, context):
            yield offer(quant, other, profile, context)
    yield from _smaller_head(shape, profile, context)


def smaller(shape: ModelShape, profile: DeviceProfile, context: int, least: int = 0) -> Iterator[Alternative]:
    """Yield what would fit, or fit with room where the model fits tightly, the most useful first.

    Other quantisations, which are faster too, come before a shorter context, that before no copy of the weights, which is
    slower, and last come another board and another student. No context is offered that is shorter than `least`.
    """
    enough = roomy if fits(shape, profile, context) else fits
    quants = _fitting(shape, profile, context, enough)
    yield from quants
    shorter = context // 2
    while shorter >= KV_PAD and not enough(shape, profile, shorter):
        shorter //= 2
    if shorter >= max(KV_PAD, least):
        yield offer(f"{shorter} tokens of context", shape, profile, shorter)
    plain = profile.without_repacking()
    if plain is not profile and enough(shape, plain, context):
        yield offer("--no-repack, which holds the weights once and computes slower", shape, plain, context)
    yield from _bigger(shape, profile, context, enough)
    if not quants:
        yield from _students(profile, context)


def suited(shape: ModelShape, profile: DeviceProfile) -> tuple[str, ...]:
    """Return the quantisations that suit a device, best first; others where rows do not divide by 256."""
    whole = all(one.shape[0] % 256 == 0 for one in shape.streamed)
    return profile.quants if whole else profile.quants_if_not_256


def offer(what: str, shape: ModelShape, profile: DeviceProfile, context: int) -> Alternative:
    """Return an alternative with its size and its speeds."""
    return Alternative(
        what=what,
        device=profile.name,
        quant=shape.quant,
        context=context,
        bytes=shape.file_bytes,
        tg_tps=rounded(decode_speed(shape, profile)),
        pp_tps=rounded(prefill_speed(shape, profile)),
        fits=fits(shape, profile, context),
        tight=not roomy(shape, profile, context) and fits(shape, profile, context),
        extrapolated=bool(extrapolated(shape, profile.at(shape.file_bytes))),
    )


def rounded(speed: float | None) -> float | None:
    """Return a speed with three significant digits: more would claim too much."""
    return float(f"{speed:.3g}") if speed else None


def _smaller_head(shape: ModelShape, profile: DeviceProfile, context: int) -> Iterator[Alternative]:
    """Yield what fewer bits in the head, or a vocabulary of a quarter, would bring where the head is most of a token."""
    speed = decode_speed(shape, profile)
    head = next((one for one in shape.streamed if one.name == shape.head), None)
    total = sum(one.bytes * shape.used(one) for one in shape.streamed)
    if head is None or not speed or head.bytes < _HEAD_SHARE * total:
        return
    others = {}
    if bits(head.type) > 6:
        type_ = "Q4_K" if head.shape[0] % 256 == 0 else "Q4_0"
        others[f"the head in {type_} (exporter gguf, quants: auto)"] = shape.with_types({head.name: type_})
    if shape.vocabulary >= 65536:
        other = shape.with_vocabulary(shape.vocabulary // 4)
        size = other.vocabulary
        others[f"a vocabulary of {size:,} (trainer full, trim_vocabulary: true, vocabulary_size: {size})"] = other
    for what, other in others.items():
        rate = decode_speed(other, profile)
        if rate and rate >= _FASTER * speed:
            yield offer(what, other, profile, context)


def _fitting(shape: ModelShape, profile: DeviceProfile, context: int, enough: _Enough) -> list[Alternative]:
    """Return the two smaller quantisations that suit the device best, and the largest one that would do."""
    offered = [one for one in QUANTS if one not in profile.avoid and one not in BY_REQUEST and bits(QUANTS[one]) < 16]

    def would_do(quant: str) -> bool:
        other = shape.quantised(quant)
        less = needed(other, profile, context) < needed(shape, profile, context) and other.file_bytes < shape.file_bytes
        return less and enough(other, profile, context)

    best = list(islice((quant for quant in suited(shape, profile) if quant in offered and would_do(quant)), _BEST))
    largest = [quant for quant in offered if quant not in best and would_do(quant)][:1]
    return [offer(quant, shape.quantised(quant), profile, context) for quant in (*best, *largest)]


def _bigger(shape: ModelShape, profile: DeviceProfile, context: int, enough: _Enough) -> Iterator[Alternative]:
    """Yield a bigger board, of the same kind if possible, that holds the model as it is, else in what suits that board."""
    bigger = [one for one in sound_devices() if one.ram_mib > profile.ram_mib and one.calibrated]
    boards = sorted(bigger, key=lambda one: (one.kind != profile.kind, one.ram_mib))
    for smaller_ in (False, True):
        for board in boards:
            other = shape.quantised(suited(shape, board)[0]) if smaller_ else shape
            if enough(other, board, context):
                yield offer(f"{board.title} with {other.quant}" if smaller_ else board.title, other, board, context)
                return


def _students(profile: DeviceProfile, context: int) -> Iterator[Alternative]:
    """Yield the largest of the shapes made for small boards that fits."""
    for title, (hidden, wide, layers, heads, vocabulary) in _STUDENTS.items():
        described = {
            "model_type": "llama", "hidden_size": hidden, "intermediate_size": wide, "num_hidden_layers": layers,
            "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": heads[2],
            "vocab_size": vocabulary, "tie_word_embeddings": True,
        }  # fmt: skip
        shape = from_config(described, title).quantised(profile.quants[0])
        if fits(shape, profile, context):
            what = f"a student of {title} (hidden size {hidden}, {layers} layers, vocabulary {vocabulary:,}) in {shape.quant}"
            yield offer(what, shape, profile, context)
            return
