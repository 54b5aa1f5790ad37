"""Layers of K ensemble members that share nothing.

Legend: B batch, K members, I inputs, M outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """A linear map of its own for every member, all in one product.

    Shape:
        (K, B, I), or (1, B, I) if the input is the same for every member -> (K, B, M).
    """

    def __init__(self, num_members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_members, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(num_members, 1, outputs))

    def forward(self, x_KBI: Tensor) -> Tensor:
        """Apply every member's map."""
        if x_KBI.shape[0] == 1:  # one large product instead of K
            flat = nn.functional.linear(x_KBI[0], self.weight.flatten(0, 1))
            return flat.view(-1, *self.weight.shape[:2]).transpose(0, 1) + self.bias
        return torch.baddbmm(self.bias, x_KBI, self.weight.mT)
