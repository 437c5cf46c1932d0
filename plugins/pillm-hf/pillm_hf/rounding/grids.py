"""The grids of ggml's 32-weight blocks: what is left of a weight matrix once llama.cpp has quantised it.

The sums are taken in the order in which llama.cpp's C code takes them, one weight of a block after the other, so that the
scales that come of them are the same to the last bit where neither compiler fuses a product into a sum.
Source: `quantize_row_q4_0_ref`, `quantize_row_q8_0_ref` and `quantize_row_iq4_nl_impl` in ggml/src/ggml-quants.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

Grid: TypeAlias = Literal["Q4_0", "IQ4_NL", "Q8_0"]

BLOCK = 32
VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the sixteen codes of IQ4_NL stand for, times the block's scale."""
_TRIES = 7
"""IQ4_NL tries scales that put the largest weight at -127 and at up to so many steps to either side of it."""
_NOTHING = 1e-15
"""A block whose largest weight is below this is all zeros in IQ4_NL."""
_BELOW_HALF = 0.49999997
"""The float32 before one half: added before cutting off, it rounds halves away from zero and nothing else."""
_PIECE = {"cpu": 2**16, "other": 2**22}
"""Weights at a time: on a processor they stay in its cache, where new memory costs more than the arithmetic."""
_SEARCHED = 2
"""A search holds all its scales' products at once; its pieces are smaller by so many powers of two."""


def rounded(weight: torch.Tensor, grid: Grid, chosen: torch.Tensor | None = None) -> torch.Tensor:
    """Return a matrix [out, in] in float32 as llama.cpp reads it from a file of that type; `in` is a multiple of 32.

    `chosen` is what `choose` found for these weights, or for such as are near them; without it IQ4_NL's scales are searched.
    What float16 scales cannot hold is infinite.
    """
    import torch

    with torch.no_grad():
        blocks = weight.detach().reshape(-1, BLOCK)
        out = torch.empty_like(blocks, dtype=torch.float32)
        if grid == "IQ4_NL" and chosen is None:
            chosen = choose(weight)
        for part in _pieces(blocks):
            piece = blocks[part].float()
            if chosen is not None:
                out[part] = _iq4_nl(piece.T.contiguous(), chosen[part]).T
            else:
                out[part] = _q4_0(piece) if grid == "Q4_0" else _q8_0(piece)
        return out.view(weight.shape)


def choose(weight: torch.Tensor) -> torch.Tensor:
    """Return for each block which of the scales that IQ4_NL tries loses least, as uint8 [blocks]: the slow part."""
    import torch

    with torch.no_grad():
        blocks = weight.detach().reshape(-1, BLOCK)
        out = torch.empty(len(blocks), dtype=torch.uint8, device=blocks.device)
        for part in _pieces(blocks, _SEARCHED):
            out[part] = _best_try(blocks[part].float().T.contiguous())
        return out


def _pieces(blocks: torch.Tensor, smaller: int = 0) -> Iterator[slice]:
    size = (_PIECE["cpu" if blocks.device.type == "cpu" else "other"] >> smaller) // BLOCK
    for begin in range(0, len(blocks), size):
        yield slice(begin, begin + size)


def _q4_0(blocks: torch.Tensor) -> torch.Tensor:
    scale = _signed_max(blocks) / -8
    codes = (blocks * _inverse(scale)[:, None]).add_(8.5).floor_().clamp_(max=15).sub_(8)
    return _scaled(codes, scale)


def _q8_0(blocks: torch.Tensor) -> torch.Tensor:
    import torch

    scale = torch.maximum(blocks.amax(1), -blocks.amin(1)) / 127
    exact = blocks * _inverse(scale)[:, None]
    return _scaled(exact.abs().add_(_BELOW_HALF).floor_().copysign_(exact), scale)


def _signed_max(blocks: torch.Tensor) -> torch.Tensor:
    """Return the weight of the largest magnitude of each block; of two that are as large the first."""
    import torch

    high, low = blocks.amax(1), blocks.amin(1)
    found = torch.where(high > -low, high, low)
    ties = ((high == -low) & (high > 0)).nonzero()[:, 0]
    if len(ties):
        tied = blocks[ties]
        found[ties] = tied.gather(1, tied.abs().argmax(1, keepdim=True))[:, 0]
    return found


def _inverse(scale: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.where(scale == 0, scale, 1 / scale)


def _scaled(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiply codes [blocks, 32] by float16 scales; where float16 has none so small, the block is all zeros."""
    half = scale.half().float()[:, None]
    return codes.mul_(half).masked_fill_(half == 0, 0.0)


def _best_try(x: torch.Tensor) -> torch.Tensor:
    """Return the number of the try that loses least for blocks [32, n], each weight counted by its square."""
    import torch

    numbers = torch.arange(2 * _TRIES + 2, device=x.device)[:, None]
    squares, products = _sums(x, _tried(_signed_max(x.T), numbers))
    found = torch.zeros(x.shape[1], dtype=torch.uint8, device=x.device)
    best = products[0] / squares[0] * products[0]
    for number in range(1, len(squares)):
        of_values, of_x = squares[number], products[number]
        better = of_x * of_x > best * of_values
        found.masked_fill_(better, number)
        best = torch.where(better, of_x / of_values * of_x, best)
    return found


def _iq4_nl(x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return blocks [32, n] on the grid of the scales that fit best where the chosen tries put each weight."""
    largest = _signed_max(x.T)
    squares, products = _sums(x, _tried(largest, chosen[None]))
    scale = (products[0] / squares[0]).masked_fill_(largest.abs() < _NOTHING, 0.0).nan_to_num_(0.0)
    half = scale.half().float()
    return _nearest(x * _inverse(scale)).mul_(half).masked_fill_(half == 0, 0.0)


def _tried(largest: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return one over the scales of those numbers [tries, n] for blocks with those largest weights [n]; finite always."""
    import torch

    first = 1 / (-largest / VALUES[0])
    others = (numbers.to(largest.dtype) - 1 - _TRIES + VALUES[0]) / largest
    return torch.where(numbers == 0, first, others).nan_to_num_(0.0, 0.0, 0.0)


def _sums(x: torch.Tensor, inverses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for each try [tries, n], the sums over a block of values squared and of values times weights."""
    values = _nearest(x * inverses[:, None])
    weighted = values * (x * x)
    squares = _summed(values.mul_(weighted))
    return squares, _summed(weighted.mul_(x))


def _summed(parts: torch.Tensor) -> torch.Tensor:
    """Sum over the second to last dimension, one after the other."""
    total = parts[..., 0, :].clone()
    for number in range(1, BLOCK):
        total += parts[..., number, :]
    return total


def _nearest(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest of IQ4_NL's values, the larger of two that are as near.

    The middle between two neighbours is a multiple of one half, so that the halves that `x` holds tell which is nearest.
    """
    import torch

    low, high = 2 * VALUES[0], 2 * VALUES[-1]
    numbers = (x * 2).floor_().clamp_(low, high).sub_(low).to(torch.int32)
    return torch.index_select(_table(x.device), 0, numbers.view(-1)).view(x.shape)


@lru_cache(maxsize=8)
def _table(device: torch.device) -> torch.Tensor:
    """Return the nearest value of each half from the lowest value to the highest."""
    import torch

    halves = [number / 2 for number in range(2 * VALUES[0], 2 * VALUES[-1] + 1)]
    nearest = [min(VALUES, key=lambda value: (abs(value - half - 0.25), -value)) for half in halves]
    return torch.tensor(nearest, dtype=torch.float32, device=device)
