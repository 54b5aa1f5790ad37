"""The Transformer of `mlpipe.bundle.folding` as a module of plain operators, which is what is exported as a graph.

Notable:

- The first block has no norm before it by default: its queries, keys and values are linear in the encoding of a number
  and in the row of a category, and come from these by one product and one look into a table.
- What is used apart is made apart: cutting up a tensor is a copy in ONNX Runtime, which takes transposed matrices and
  heads that lie side by side as they are.

Legend of the shapes: B rows, T column tokens, F numeric features, C categorical features, N numbers in an encoding,
D width, H heads, E head width, R readout tokens, K members, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.bundle.folding import blocks_of, queries_keys_values, scores_values, transformers
from mlpipe.bundle.lookup import can_look_up
from mlpipe.models import TableModel, Transformer
from mlpipe.models.blocks import Block
from mlpipe.models.heads import LinearHead
from mlpipe.models.norm import EPSILON
from mlpipe.models.tokenizers import Tokenizer
from mlpipe.schema import UNSEEN_ID


class FoldedGraph(nn.Module):
    """A model that `mlpipe.bundle.folding.can_fold`, with the same inputs and logits.

    Args:
        model: On the CPU, in evaluation mode.

    Shape:
        numeric float32 (B, F), missing bool (B, F), categorical int32 (B, C) -> logits (B, K, O).
    """

    def __init__(self, model: TableModel) -> None:
        super().__init__()
        self.spec, self.config = model.spec, model.config
        with torch.no_grad():
            self.networks = nn.ModuleList(_Graph(network) for network in transformers(model))
        self.eval()

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        """Logits (B, K, O)."""
        parts = [network(numeric_BF, missing_BF, categorical_BC) for network in self.networks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Graph(nn.Module):
    """One Transformer."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        config = model.config
        trunk, last = blocks_of(model)
        self.heads, self.readouts = config.num_heads, model.num_readouts
        self.first_norm = config.first_norm
        maps = [_stacked(queries_keys_values(model, block)) for block in trunk]
        maps.append(_stacked(scores_values(model, last)))
        linear = can_look_up(model.tokenizer) and not config.first_norm
        if linear:
            same = torch.eye(config.width, dtype=torch.float64).expand(model.tokenizer.num_tokens, -1, -1)
            first = [*maps[0], same] if trunk else maps[0]
            if model.additive is not None:
                first = [*first, model.additive.weight.double()]
            self.tokens: nn.Module = _LinearTokens(model.tokenizer, first)
        else:
            self.tokens = model.tokenizer
        self.linear = linear
        self.maps = nn.ModuleList(_Maps([] if linear and not index else own) for index, own in enumerate(maps))
        self.trunk = nn.ModuleList(_Rest(block) for block in trunk)
        self.last = _Rest(last)
        self.register_buffer("readout_R1D", model.readout.weight.detach(), persistent=False)
        self.head, self.additive = model.head, model.additive

    readout_R1D: Tensor

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        alone_BO = None
        if self.linear:
            made = self.tokens(numeric_BF, missing_BF, categorical_BC)
            if self.additive is not None:
                alone_BO = made.pop().sum(0)
            x_TBD = made.pop() if len(self.trunk) else None
        else:
            x_TBD = self.tokens(numeric_BF, missing_BF, categorical_BC)
            if self.additive is not None:
                alone_BO = self.additive(x_TBD)
            made = self.maps[0](_normed(x_TBD) if self.first_norm else x_TBD)
        for rest, maps in zip(self.trunk, self.maps[1:], strict=True):
            query_BHTE, key_BHTE, value_BHTE = (self._by_head(part) for part in made)
            weights_BHTT = torch.matmul(query_BHTE, key_BHTE.transpose(2, 3)).softmax(-1)
            x_TBD = rest(x_TBD, torch.matmul(weights_BHTT, value_BHTE).permute(2, 0, 1, 3).flatten(2))
            made = maps(_normed(x_TBD))
        scores_BHTR, value_BHTE = (self._by_head(part) for part in made)
        weights_BHRT = scores_BHTR.transpose(2, 3).softmax(-1)
        x_RBD = self.last(self.readout_R1D, torch.matmul(weights_BHRT, value_BHTE).permute(2, 0, 1, 3).flatten(2))
        if isinstance(self.head, LinearHead):
            logits_BKO = torch.matmul(_normed(x_RBD), self.head.weight).transpose(0, 1) + self.head.bias
        else:
            logits_BKO = self.head(_normed(x_RBD).transpose(0, 1))
        return logits_BKO if alone_BO is None else logits_BKO + alone_BO.unsqueeze(1)

    def _by_head(self, made_TBW: Tensor) -> Tensor:
        return torch.unflatten(made_TBW, 2, (self.heads, -1)).permute(1, 2, 0, 3)


def _normed(x: Tensor) -> Tensor:
    """`mlpipe.models.norm.rms_norm` in the words that ONNX Runtime has one operator for."""
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + EPSILON) * torch.ones(x.shape[-1])


def _stacked(maps: Sequence[Tensor]) -> list[Tensor]:
    """(T, D, H W) of (T, H, W, D)."""
    return [one.flatten(1, 2).transpose(1, 2) for one in maps]


class _Maps(nn.Module):
    """Several linear maps of the same tokens: (T, B, D) -> (T, B, W) each."""

    def __init__(self, maps_TDW: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(one.float().contiguous(), requires_grad=False) for one in maps_TDW)

    def forward(self, x_TBD: Tensor) -> list[Tensor]:
        return [torch.matmul(x_TBD, weight_TDW) for weight_TDW in self.weights]


class _LinearTokens(nn.Module):
    """Linear maps of the tokens of a tokenizer that `mlpipe.bundle.lookup.can_look_up`, (T, B, W) each."""

    def __init__(self, tokenizer: Tokenizer, maps_TDW: Sequence[Tensor]) -> None:
        super().__init__()
        numeric, categorical = tokenizer.numeric, tokenizer.categorical
        self.encoding = None if numeric is None else numeric.encoding
        self.categorical = categorical
        numbers = len(tokenizer.single)
        projections, tables = [], []
        for map_TDW in maps_TDW:
            if numeric is not None:
                assert numeric.slope is not None  # what is not periodic has one
                parts = [numeric.bias, numeric.missing, numeric.slope]
                if numeric.weight is not None:
                    parts.append(numeric.weight)
                projections.append(torch.cat([part.double() for part in parts], dim=1) @ map_TDW[:numbers])
            if categorical is not None:
                rows = torch.split(categorical.table.weight.double(), categorical.cardinalities.tolist())
                biased = [own + bias for own, bias in zip(rows, categorical.bias.double(), strict=True)]
                own_maps = map_TDW[numbers:]
                tables.append(torch.cat([own @ one for own, one in zip(biased, own_maps, strict=True)]))
        self.projections = nn.ParameterList(nn.Parameter(one.float(), requires_grad=False) for one in projections)
        self.tables = nn.ParameterList(nn.Parameter(one.float(), requires_grad=False) for one in tables)

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> list[Tensor]:
        found: list[list[Tensor]] = []
        if len(self.projections):
            x_FB1 = numeric_BF.t().unsqueeze(2)
            parts = [torch.ones_like(x_FB1), missing_BF.t().unsqueeze(2).to(x_FB1.dtype), x_FB1]
            if self.encoding is not None:
                parts.append(self.encoding(x_FB1.squeeze(2)))
            encoded_FBN = torch.cat(parts, dim=2)
            found.append([torch.matmul(encoded_FBN, projection) for projection in self.projections])
        if self.categorical is not None:
            tokenizer = self.categorical
            known_BC = (categorical_BC >= 0) & (categorical_BC < tokenizer.cardinalities)
            ids_CB = (torch.where(known_BC, categorical_BC, UNSEEN_ID) + tokenizer.offsets).t()
            found.append([functional.embedding(ids_CB, table) for table in self.tables])
        return [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True)]


class _Rest(nn.Module):
    """What a block does behind its attention: x (T, B, D) and attended (T, B, D) -> (T, B, D)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.out = block.attention.out
        gate, up = block.mlp.up.weight.chunk(2)
        self.gate = nn.Parameter(gate.clone(), requires_grad=False)
        self.up = nn.Parameter(up.clone(), requires_grad=False)
        self.down = block.mlp.down
        self.activation = block.mlp.activation

    def forward(self, x_TBD: Tensor, attended_TBD: Tensor) -> Tensor:
        x_TBD = x_TBD + self.out(attended_TBD)
        normed_TBD = _normed(x_TBD)
        gate_TBM, up_TBM = functional.linear(normed_TBD, self.gate), functional.linear(normed_TBD, self.up)
        out: Tensor = x_TBD + self.down(self.activation(gate_TBM) * up_TBM)
        return out
