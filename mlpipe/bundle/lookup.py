"""The tokens of a row, and what is linear in them, looked up instead of computed.

The token of a category is a row of a table, and so is any matrix times it. The token of a number that is embedded
piecewise linearly (Gorishniy et al. 2022, arXiv 2203.05556) is one row and a fraction of another within a bin, and so
is any matrix times it: the first block's queries, keys and values need no product. Rows are made in float64, so that
the sums in them are at least as near the true ones as those of the trained network.

Legend of the shapes: B rows, T tokens, S tokens with the empty ones behind them, F numeric features, C categorical
features, D width, W numbers that a table has for a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpipe.models.encodings import PeriodicEncoding, PiecewiseLinearEncoding
from mlpipe.models.tokenizers import CategoricalTokenizer, NumericTokenizer, Tokenizer
from mlpipe.schema import UNSEEN_ID

#: Categories in all, at most: a table is several times as wide as the embedding that it is made of.
MOST_CATEGORIES = 2**16


@dataclass(frozen=True)
class _Pieces:
    """The token of a number x, start + (x - lower) * scale * step, in each of N bins, and behind them if it is missing.

    Attributes:
        start, step: float64 (N + 1, D).
        lower, scale: float32 (N + 1,), as the encoding has them: a fraction of a bin is rounded as it rounds it.
    """

    start: Tensor
    step: Tensor
    lower: Tensor
    scale: Tensor


def can_look_up(tokenizer: Tokenizer) -> bool:
    """Whether every token is piecewise linear in a number, or one of not too many rows."""
    numeric, categorical = tokenizer.numeric, tokenizer.categorical
    if len(tokenizer.groups) or (categorical is not None and categorical.table.num_embeddings > MOST_CATEGORIES):
        return False
    return numeric is None or not isinstance(numeric.encoding, PeriodicEncoding)


class Lookup:
    """Tables of linear maps of the tokens.

    Args:
        tokenizer: One that `can_look_up`.
        maps: For each table the matrices of every token, float64 (T, D, W).
        size: S; the tokens behind the T are 0 in the first table.
    """

    def __init__(self, tokenizer: Tokenizer, maps: Sequence[Tensor], size: int) -> None:
        pieces = [] if tokenizer.numeric is None else _pieces(tokenizer.numeric)
        categories = [] if tokenizer.categorical is None else _categories(tokenizer.categorical)
        self._numbers, self._categories, self._size = len(pieces), len(categories), size
        self._lengths = [size] + [tokenizer.num_tokens] * (len(maps) - 1)
        # A table's rows: all starts, then all steps, a row of zeros, then all categories.
        self._steps = sum(len(piece.lower) for piece in pieces)
        self._zero = 2 * self._steps
        tables = []
        for map_TDW in maps:
            rows = [piece.start @ matrix for piece, matrix in zip(pieces, map_TDW, strict=False)]
            rows += [piece.step @ matrix for piece, matrix in zip(pieces, map_TDW, strict=False)]
            rows.append(map_TDW.new_zeros(1, map_TDW.shape[2]))
            rows += [own @ matrix for own, matrix in zip(categories, map_TDW[len(pieces) :], strict=True)]
            tables.append(torch.cat(rows).float())
        self._tables = tables
        if pieces:
            self._lower, self._scale = (
                torch.cat([getattr(piece, name) for piece in pieces]) for name in ("lower", "scale")
            )
            lengths = torch.tensor([len(piece.lower) for piece in pieces]).unsqueeze(1)
            self._first = lengths.cumsum(0) - lengths
            self._missing = self._first + lengths - 1
            self._edges = torch.full((len(pieces), max(int(lengths.max()) - 2, 0)), math.inf)
            for edges, piece in zip(self._edges, pieces, strict=True):
                edges[: len(piece.lower) - 2] = piece.lower[1:-1]
        if categories:
            lengths = torch.tensor([len(own) for own in categories]).unsqueeze(1)
            self._offsets = self._zero + 2 + lengths.cumsum(0) - lengths
            self._beyond = (lengths - 2).int()
            self._below = torch.full_like(self._beyond, -1)

    def __call__(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> list[Tensor]:
        """Look up.

        Args:
            numeric_BF: Numbers; 0 where `missing_BF`.
            missing_BF: Whether a number is missing.
            categorical_BC: Ids, int32.

        Returns:
            (S, B, W) of the first table, (T, B, W) of the others.
        """
        rows, numbers = len(numeric_BF), self._numbers
        # Two rows of the table for every token: one as it is, and a fraction of another.
        index_SB2 = torch.full((self._size, rows, 2), self._zero)
        weight_SB2 = torch.ones(self._size, rows, 2)
        if numbers:
            x_FB = numeric_BF.t().contiguous()
            place_FB = torch.searchsorted(self._edges, x_FB).add_(self._first)
            place_FB = torch.where(missing_BF.t(), self._missing, place_FB)
            index_SB2[:numbers, :, 0] = place_FB
            torch.add(place_FB, self._steps, out=index_SB2[:numbers, :, 1])
            from_lower_FB = x_FB - self._lower.take(place_FB)
            torch.mul(from_lower_FB, self._scale.take(place_FB), out=weight_SB2[:numbers, :, 1])
        if self._categories:
            known_CB = torch.clamp(categorical_BC.t(), self._below, self._beyond)
            torch.add(known_CB, self._offsets, out=index_SB2[numbers : numbers + self._categories, :, 0])
        index, weight = index_SB2.flatten(), weight_SB2.flatten()
        starts = torch.arange(0, len(index), 2)
        found = []
        for table, length in zip(self._tables, self._lengths, strict=True):
            bags = length * rows
            sums, *_ = torch.embedding_bag(
                table, index[: 2 * bags], starts[:bags], mode=0, per_sample_weights=weight[: 2 * bags]
            )
            found.append(sums.view(length, rows, -1))
        return found


def _pieces(tokenizer: NumericTokenizer) -> list[_Pieces]:
    assert tokenizer.slope is not None  # what is not periodic has one
    encoding = tokenizer.encoding
    found = []
    for feature, (bias, slope, missing) in enumerate(
        zip(tokenizer.bias.double(), tokenizer.slope.double(), tokenizer.missing.double(), strict=True)
    ):
        lower, scale = torch.zeros(1), torch.ones(1)
        start, step, at_zero = bias, slope, bias
        if isinstance(encoding, PiecewiseLinearEncoding) and encoding.inverse_width[feature].any():
            assert tokenizer.weight is not None  # there are bins
            bins = int((encoding.inverse_width[feature] != 0).sum())
            lower, scale = encoding.lower[feature, 0, :bins], encoding.inverse_width[feature, 0, :bins]
            weight = tokenizer.weight[feature].double()
            step = weight[:bins] + slope / scale.double().unsqueeze(1)
            start = bias + slope * lower.double().unsqueeze(1) + weight[:bins].cumsum(0) - weight[:bins]
            at_zero = bias + encoding(torch.zeros(len(tokenizer.bias), 1))[feature].double() @ weight
        none = torch.zeros(1)
        found.append(
            _Pieces(
                torch.cat((start, at_zero + missing)),
                torch.cat((step, torch.zeros_like(missing))),
                torch.cat((lower, none)),
                torch.cat((scale, none)),
            )
        )
    return found


def _categories(tokenizer: CategoricalTokenizer) -> list[Tensor]:
    """The tokens of every column's ids, float64, with what is read for ids below and beyond before and behind them."""
    found = []
    table, cardinalities = tokenizer.table.weight.double(), tokenizer.cardinalities.tolist()
    for rows, bias in zip(torch.split(table, cardinalities), tokenizer.bias.double(), strict=True):
        unseen = rows[UNSEEN_ID : UNSEEN_ID + 1]
        found.append(torch.cat((unseen, rows, unseen)) + bias)
    return found
