"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864).

A query and a key are turned, pair of numbers by pair, by an angle proportional to their position, so that their
product depends on the distance alone. Notable:

- Number i is paired with number i + E/2 (the "half" layout): two contiguous halves, no strided access.
- Angles, sines and cosines are float32 whatever the precision of the tokens: bf16 cannot tell position 256 from 257.
- Positions are any real numbers, one per token or one per token and row.

Legend: B batch, T tokens, H heads, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_frequencies(head_width: int, base: float = 10_000.0) -> Tensor:
    """Angle per unit of position of every pair: a geometric ladder from 1 down to almost 1 / base.

    Returns:
        float32 (E / 2,).

    Examples:
        >>> rotary_frequencies(4, base=100.0)
        tensor([1.0000, 0.1000])
    """
    exponents = torch.arange(0, head_width, 2, dtype=torch.float64) / head_width
    return (base**-exponents).float()


def rotary_table(positions_T: Tensor, frequencies_E2: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position's angles.

    Args:
        positions_T: Real positions, (T,) or (T, B).
        frequencies_E2: As `rotary_frequencies` gives them.

    Returns:
        Two float32 tensors (T, B or 1, 1, E / 2); the last 1 stands for the heads.
    """
    positions_TB = positions_T.to(torch.float32).reshape(len(positions_T), -1)
    angles = positions_TB[:, :, None, None] * frequencies_E2
    return angles.cos(), angles.sin()


def rotate(x_TBHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every pair of `x_TBHE` by its position's angles.

    Args:
        x_TBHE: Queries or keys, (T, B, H, E).
        cos: As `rotary_table` gives it.
        sin: Likewise.

    Returns:
        (T, B, H, E), in the precision of `x_TBHE`.
    """
    first, second = x_TBHE.chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x_TBHE.dtype)
