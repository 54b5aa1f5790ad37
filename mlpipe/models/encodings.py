"""A number as many numbers, so that one linear map behind them can bend.

Legend: B batch, F numeric features, N numbers in an encoding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PiecewiseLinearEncoding(nn.Module):
    """How far a number has come through each bin: 1 for bins below it, a fraction in its own, 0 above.

    After Gorishniy et al. 2022 (arXiv 2203.05556). The first bin goes on below its lower edge and the last above
    its upper one, so that values outside what was seen still move the token. Features may have different numbers
    of bins, or none: what is left over of the widest is 0.

    Args:
        edges: Ascending edges of every feature; edges that float32 cannot tell apart are merged.

    Shape:
        (F, B) -> (F, B, N), N the largest number of bins.
    """

    lower: Tensor
    inverse_width: Tensor
    minimum: Tensor
    maximum: Tensor

    def __init__(self, edges: list[tuple[float, ...]]) -> None:
        super().__init__()
        distinct = [torch.unique(torch.tensor(feature, dtype=torch.float32)) for feature in edges]
        self.size = max((max(len(feature) - 1, 0) for feature in distinct), default=0)
        shape = (len(edges), 1, self.size)
        lower, inverse_width = torch.zeros(shape), torch.zeros(shape)
        minimum, maximum = torch.zeros(shape), torch.zeros(shape)
        for index, feature in enumerate(distinct):
            bins = len(feature) - 1
            if bins < 1:
                continue
            lower[index, 0, :bins] = feature[:-1]
            inverse_width[index, 0, :bins] = 1 / feature.diff()
            maximum[index, 0, :bins] = 1
            minimum[index, 0, 0] = -math.inf
            maximum[index, 0, bins - 1] = math.inf
        self.register_buffer("lower", lower, persistent=False)
        self.register_buffer("inverse_width", inverse_width, persistent=False)
        self.register_buffer("minimum", minimum, persistent=False)
        self.register_buffer("maximum", maximum, persistent=False)

    def forward(self, x_FB: Tensor) -> Tensor:
        """Encode one number per feature and row."""
        fraction_FBN = (x_FB.unsqueeze(-1) - self.lower) * self.inverse_width
        return fraction_FBN.clamp(self.minimum, self.maximum)


class PeriodicEncoding(nn.Module):
    """Sines and cosines of learned frequencies.

    After Gorishniy et al. 2022 and, with phases and without sines, Holzmüller et al. 2024 (RealMLP,
    arXiv 2407.04491).

    Args:
        num_features: F.
        num_frequencies: Per feature.
        phases: Cosines of shifted angles instead of cosines and sines.

    Shape:
        (F, B) -> (F, B, N), N = `num_frequencies` with phases and twice as many without.
    """

    def __init__(self, num_features: int, num_frequencies: int, phases: bool = False) -> None:
        super().__init__()
        self.size = num_frequencies if phases else 2 * num_frequencies
        self.frequencies = nn.Parameter(torch.empty(num_features, 1, num_frequencies))
        self.phases = nn.Parameter(torch.empty(num_features, 1, num_frequencies)) if phases else None

    def forward(self, x_FB: Tensor) -> Tensor:
        """Encode one number per feature and row."""
        angle_FBN = 2 * math.pi * self.frequencies * x_FB.unsqueeze(-1)
        if self.phases is not None:
            return (angle_FBN + self.phases).cos()
        return torch.cat((angle_FBN.cos(), angle_FBN.sin()), dim=-1)
