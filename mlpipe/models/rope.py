"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864).

A query and a key are turned, pair of numbers by pair, by an angle proportional to their position, so that their
product depends on the distance alone. Notable:

- Neighbours form a pair, as in the paper: a pair is a complex number and its turn one multiplication, which without
  the compiler is three times as fast as the arithmetic spelled out. The compiler, which has no complex numbers, gets
  it spelled out and merges it with its neighbours.
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
    precise = x_TBHE.to(torch.promote_types(x_TBHE.dtype, torch.float32))
    pairs = precise.reshape(*x_TBHE.shape[:-1], x_TBHE.shape[-1] // 2, 2)
    if torch.compiler.is_compiling():
        first, second = pairs.unbind(-1)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1)
    else:
        turn = torch.complex(cos.to(precise.dtype), sin.to(precise.dtype))
        turned = torch.view_as_real(torch.view_as_complex(pairs) * turn)
    return turned.flatten(-2).to(x_TBHE.dtype)
