"""Columns become tokens.

Notable:

- All single numbers are embedded at once: an encoding (F, B, N), then one batched matrix product.
- A missing number is 0 to the encoding, and a learned vector of its feature is added to its token.
- All categories live in one table with an offset per feature: one gather, however many columns.
- Numbers of one group (the parts of a hashed text) share one token through one projection.

Legend: B batch, T tokens, F numeric features, C categorical features, N numbers in an encoding, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlpipe.models.config import TransformerConfig
from mlpipe.models.encodings import PeriodicEncoding, PiecewiseLinearEncoding
from mlpipe.schema import UNSEEN_ID, CategoricalFeature, InputSpec, NumericFeature


class NumericTokenizer(nn.Module):
    """One token for each number.

    Args:
        config: `numeric_embedding` and its sizes.
        features: F features, each for a token of its own.

    Shape:
        numeric (B, F), missing (B, F) -> (F, B, D).
    """

    encoding: PiecewiseLinearEncoding | PeriodicEncoding | None

    def __init__(self, config: TransformerConfig, features: list[NumericFeature]) -> None:
        super().__init__()
        kind = config.numeric_embedding
        count, width = len(features), config.width
        self.encoding = None
        if kind == "ple" and any(feature.bins for feature in features):
            self.encoding = PiecewiseLinearEncoding([feature.bins for feature in features])
        elif kind in ("periodic", "plr", "pbld"):
            self.encoding = PeriodicEncoding(count, config.num_frequencies, phases=kind == "pbld")
        self.rectify = kind == "plr"
        size = self.encoding.size if self.encoding is not None else 0
        self.weight = nn.Parameter(torch.empty(count, size, width)) if size else None
        self.slope = nn.Parameter(torch.empty(count, 1, width)) if kind in ("linear", "ple", "pbld") else None
        self.bias = nn.Parameter(torch.empty(count, 1, width))
        self.missing = nn.Parameter(torch.empty(count, 1, width))

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor) -> Tensor:
        """Embed; `numeric_BF` is 0 where `missing_BF`."""
        x_FB = numeric_BF.t()
        token_FBD: Tensor = self.bias
        if self.slope is not None:
            token_FBD = torch.addcmul(token_FBD, x_FB.unsqueeze(-1), self.slope)
        if self.encoding is not None and self.weight is not None:
            token_FBD = token_FBD + torch.bmm(self.encoding(x_FB), self.weight)
        if self.rectify:
            token_FBD = token_FBD.relu()
        return torch.addcmul(token_FBD, missing_BF.t().unsqueeze(-1).to(x_FB.dtype), self.missing)


class GroupTokenizer(nn.Module):
    """One token for several numbers that belong together, through one projection of values and missing flags.

    Shape:
        numeric (B, F), missing (B, F) -> (1, B, D).
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, num_features))
        self.missing = nn.Parameter(torch.empty(width, num_features))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor) -> Tensor:
        """Embed; `numeric_BF` is 0 where `missing_BF`."""
        values_B2F = torch.cat((numeric_BF, missing_BF.to(numeric_BF.dtype)), dim=-1)
        projection_D2F = torch.cat((self.weight, self.missing), dim=-1)
        return nn.functional.linear(values_B2F, projection_D2F, self.bias).unsqueeze(0)


class CategoricalTokenizer(nn.Module):
    """One token for each category: its row of the one table plus the column's own vector.

    An id outside a feature's range is read as `UNSEEN_ID`; it never reaches another feature's rows.

    Shape:
        (B, C) integers -> (C, B, D).
    """

    offsets: Tensor
    cardinalities: Tensor

    def __init__(self, features: tuple[CategoricalFeature, ...], width: int) -> None:
        super().__init__()
        cardinalities = torch.tensor([feature.cardinality for feature in features])
        self.register_buffer("cardinalities", cardinalities, persistent=False)
        self.register_buffer("offsets", cardinalities.cumsum(0) - cardinalities, persistent=False)
        self.table = nn.Embedding(int(cardinalities.sum()), width)
        self.bias = nn.Parameter(torch.empty(len(features), 1, width))

    def forward(self, categorical_BC: Tensor) -> Tensor:
        """Look up."""
        known_BC = (categorical_BC >= 0) & (categorical_BC < self.cardinalities)
        ids_BC = torch.where(known_BC, categorical_BC, UNSEEN_ID) + self.offsets
        out: Tensor = self.table(ids_BC.t()) + self.bias
        return out


class ReadoutTokens(nn.Module):
    """The learned tokens that gather the prediction, the same for every row.

    Shape:
        number of rows B -> (R, B, D).
    """

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_tokens, 1, width))

    def forward(self, num_rows: int) -> Tensor:
        """Repeat for every row, without a copy."""
        return self.weight.expand(-1, num_rows, -1)


class Tokenizer(nn.Module):
    """All columns of a row as tokens: single numbers, groups of numbers, categories.

    Args:
        config: Width and numeric embedding.
        spec: The columns.

    Shape:
        numeric (B, F), missing (B, F), categorical (B, C) -> (T, B, D).
    """

    def __init__(self, config: TransformerConfig, spec: InputSpec) -> None:
        super().__init__()
        members: dict[str, list[int]] = {}
        single = []
        for index, feature in enumerate(spec.numeric):
            if feature.group is None:
                single.append(index)
            else:
                members.setdefault(feature.group, []).append(index)
        self.single = single
        self.group_members = list(members.values())
        self.all_single = not members
        self.numeric = NumericTokenizer(config, [spec.numeric[index] for index in single]) if single else None
        self.groups = nn.ModuleList(GroupTokenizer(len(indices), config.width) for indices in self.group_members)
        self.categorical = CategoricalTokenizer(spec.categorical, config.width) if spec.categorical else None
        self.num_tokens = len(single) + len(members) + len(spec.categorical)

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        """Embed every column."""
        tokens = []
        if self.numeric is not None:
            if self.all_single:
                tokens.append(self.numeric(numeric_BF, missing_BF))
            else:
                tokens.append(self.numeric(numeric_BF[:, self.single], missing_BF[:, self.single]))
        for group, indices in zip(self.groups, self.group_members, strict=True):
            tokens.append(group(numeric_BF[:, indices], missing_BF[:, indices]))
        if self.categorical is not None:
            tokens.append(self.categorical(categorical_BC))
        return tokens[0] if len(tokens) == 1 else torch.cat(tokens)
