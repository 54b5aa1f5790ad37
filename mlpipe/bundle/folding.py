"""What of a Transformer is known before any row comes, multiplied out in float64.

- A column's place is a constant, and so is its rotation: it is part of the matrices that make its queries and keys, a
  pair for each column.
- In the last block with `readout: last` every row has the same queries. Multiplied by the keys' matrix they are a
  matrix from a token to its scores: there are no keys.

Legend of the shapes: T column tokens, D width, H heads, E head width, R readout tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlpipe.models import Ensemble, TableModel, Transformer
from mlpipe.models.blocks import Block
from mlpipe.models.rope import rotate


def can_fold(model: TableModel) -> bool:
    """Whether a model is one that these functions are for: a Transformer or several, their queries not normalised."""
    networks = model.networks if isinstance(model, Ensemble) else [model]
    return all(isinstance(network, Transformer) for network in networks) and (
        model.config.readout == "last" and not model.config.qk_norm
    )


def transformers(model: TableModel) -> list[Transformer]:
    """The Transformers that a model is of."""
    networks = model.networks if isinstance(model, Ensemble) else [model]
    return [network for network in networks if isinstance(network, Transformer)]


def blocks_of(model: Transformer) -> tuple[list[Block], Block]:
    """The blocks among the columns, and the last one."""
    *trunk, last = (block for block in model.blocks if isinstance(block, Block))
    return trunk, last


def queries_keys_values(model: Transformer, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """From every column's token to its queries, scaled and turned, its keys, turned, and its values.

    Returns:
        float64 (T, H, E, D) each.
    """
    attention = block.attention
    query_THED = _turned(model, attention.query.weight) * model.config.head_width**-0.5
    return query_THED, _turned(model, attention.key.weight), _by_head(model, attention.value.weight)


def scores_values(model: Transformer, block: Block) -> tuple[Tensor, Tensor]:
    """From every column's token to its scores with the readout tokens' queries, and to its values, in the last block.

    Returns:
        float64 (T, H, R, D) and (T, H, E, D).
    """
    attention = block.attention
    readout_RD = block.attention_norm(model.readout.weight[:, 0].double())
    query_HED = _by_head(model, attention.query.weight)[0] * model.config.head_width**-0.5
    key_THED = _turned(model, attention.key.weight)
    scores_THRD = torch.einsum("rc,hec,thed->thrd", readout_RD, query_HED, key_THED)
    return scores_THRD, _by_head(model, attention.value.weight)


def _by_head(model: Transformer, weight_DD: Tensor) -> Tensor:
    """A matrix of heads side by side, the same for every column: float64 (T, H, E, D)."""
    weight_HED = weight_DD.double().view(model.config.num_heads, model.config.head_width, -1)
    return weight_HED.expand(model.tokenizer.num_tokens, -1, -1, -1)


def _turned(model: Transformer, weight_DD: Tensor) -> Tensor:
    """The matrix of queries or keys with the rotation of every column behind it, float64 (T, H, E, D)."""
    weight_THED = _by_head(model, weight_DD)
    if model.config.rope == "none":
        return weight_THED
    cos, sin = (table[model.num_readouts :].double() for table in (model.cos, model.sin))
    return rotate(weight_THED.permute(0, 3, 1, 2).contiguous(), cos, sin).permute(0, 2, 3, 1)
