"""Whether a model's cache can be cut into slots: its structure says so, and a few tokens prove it.

Import this module inside functions: it imports torch and transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pillm_hf.answering.sequences import Sequence
from pillm_hf.answering.slots import Shape, Slots
from pillm_hf.models.memory import is_out_of_memory
from pillm_hf.models.precision import log

_TOKENS = 13
_SHORT = 6
_LARGEST_WINDOW = 128  # a larger one is not reached by the probe: it would cost more than it proves


def token_bytes(model: Any) -> int:
    """Return the bytes of cache that one token takes, measured on two; 0 where the model has no such cache."""
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=_ids(model, 2), past_key_values=cache, use_cache=True)
    kept = (part for layer in cache.layers for part in (getattr(layer, "keys", None), getattr(layer, "values", None)))
    return sum(part.numel() * part.element_size() for part in kept if isinstance(part, torch.Tensor)) // 2


def slot_shape(model: Any) -> Shape | None:
    """Return the shape of a model's slots, or None where they would not answer as the model does."""
    shape = _claimed(model)
    if shape is None:
        log.info("%s: its cache has no slots; rows are answered in whole batches.", type(model).__name__)
        return None
    try:
        proved = _proved(model, shape)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        log.debug("a model's slots could not be used", exc_info=True)
        proved = False
    if not proved:
        log.info("%s: slots do not answer as the model does; rows are answered in whole batches.", type(model).__name__)
    return shape if proved else None


def _claimed(model: Any) -> Shape | None:
    """Return what the model's configuration says of its cache."""
    if getattr(model.config, "_attn_implementation", None) not in ("sdpa", "eager"):
        return None
    types = getattr(model.config.get_text_config(), "layer_types", None) or ()
    layers = DynamicCache(config=model.config).layers
    known = {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}
    if not layers or not known or "chunked_attention" in types:
        return None
    windows = {getattr(layer, "sliding_window", None) for layer in layers}
    sliding = windows - {None}
    if len(sliding) > 1:
        return None
    return Shape(window=next(iter(sliding), None), mixed=len(windows) > 1)


def _proved(model: Any, shape: Shape) -> bool:
    """Compare two rows that share a prefix and differ in length, in slots, with each of them alone."""
    longest = max(_TOKENS, shape.window + 5 if shape.window and shape.window <= _LARGEST_WINDOW else 0)
    ids = _ids(model, longest)[0].tolist()
    prompts = [ids, ids[:3] + ids[4 : _SHORT + 1]]
    with torch.inference_mode():
        slots = Slots(model, shape)
        slots.admit([Sequence(list(prompt), 2, prefix=ids[:3]) for prompt in prompts])
        rows = slots.rows
        found: list[torch.Tensor] = []
        for token in (ids[2], ids[4]):
            found.append(slots.step())
            for row in rows:
                row.token_ids.append(token)
        for index, row in enumerate(rows):
            alone = model(input_ids=torch.tensor([[*row.prompt_ids, ids[2]]], device=model.device), use_cache=False)
            expected = alone.logits[0, -2:].float()
            mine = torch.stack([logits[index] for logits in found]).float()
            if not _alike(mine, expected, model.dtype):
                return False
    return True


def _alike(mine: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether two sets of logits differ by no more than rounding."""
    tolerance = 0.01 if dtype == torch.float32 else 0.15
    return bool((mine - expected).abs().mean() <= tolerance * expected.std())


def _ids(model: Any, count: int) -> torch.Tensor:
    vocabulary: int = model.get_input_embeddings().num_embeddings
    return ((torch.arange(count, device=model.device) + 1) * 7919 % vocabulary).unsqueeze(0)
