"""Multi-head attention from query tokens over memory tokens.

Notable:

- Tokens come first, (T, B, D): rows and heads are one batch dimension without a copy.
- Queries, keys and values have a matrix each. One fused matrix was no faster at these widths when measured, and Muon
  would have to cut it up again.
- No dropout inside: it rules out the fused kernels.

Legend: B batch, T query tokens, S memory tokens, D width, H heads, E head width (D = H E), N = B H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.models.norm import rms_norm
from mlpipe.models.rope import rotate

#: Cosines and sines as `rotary_table` gives them.
RotaryTable = tuple[Tensor, Tensor]


def attend(query_TBHE: Tensor, key_SBHE: Tensor, value_SBHE: Tensor) -> Tensor:
    """Softmax attention of every row and head by itself: `scaled_dot_product_attention`, except on a CPU.

    There, for the few tokens of a table's row, the fused kernel of torch 2.13 loses to `attend_on_cpu`: by a tenth of
    a training step in float32, by a fifth where the compiler merges the softmax with its neighbours, and by a factor
    of six for the gradients in bfloat16. What is exported runs elsewhere and keeps the one operator.

    Returns:
        (T, B, H, E).
    """
    if query_TBHE.is_cpu and not torch.compiler.is_exporting():
        return attend_on_cpu(query_TBHE, key_SBHE, value_SBHE)
    query, key, value = (tensor.permute(1, 2, 0, 3) for tensor in (query_TBHE, key_SBHE, value_SBHE))
    return functional.scaled_dot_product_attention(query, key, value).permute(2, 0, 1, 3)


def attend_on_cpu(query_TBHE: Tensor, key_SBHE: Tensor, value_SBHE: Tensor) -> Tensor:
    """`attend` as two batched products and a softmax.

    Without the compiler scores are stored by key and not by query: torch's softmax over a last dimension of fewer than
    16 numbers does not use the vector registers, and over the one before the last it does. The compiler of torch 2.13
    has it the other way round: there it splits a reduction over 14 numbers among the threads, row by row.

    Returns:
        (T, B, H, E).
    """
    scaled_TBHE = query_TBHE * query_TBHE.shape[-1] ** -0.5
    query, key, value = (tensor.flatten(1, 2).transpose(0, 1) for tensor in (scaled_TBHE, key_SBHE, value_SBHE))
    if torch.compiler.is_compiling():
        weights_NTS = torch.bmm(query, key.transpose(1, 2)).softmax(2).to(value.dtype)
    else:
        weights_NTS = torch.bmm(key, query.transpose(1, 2)).softmax(1).to(value.dtype).transpose(1, 2)
    return torch.bmm(weights_NTS, value).transpose(0, 1).view(query_TBHE.shape)


class Attention(nn.Module):
    """Queries from one set of tokens, keys and values from another or the same.

    Args:
        width: D.
        num_heads: H.
        qk_norm: Normalise every query and key to the same length (Henry et al. 2020).

    Shape:
        queries (T, B, D), or (T, 1, D) if they are the same for every row; memory (S, B, D) -> (T, B, D).
    """

    def __init__(self, width: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = (num_heads, width // num_heads)
        self.qk_norm = qk_norm
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        queries_TBD: Tensor,
        memory_SBD: Tensor,
        query_rope: RotaryTable | None = None,
        memory_rope: RotaryTable | None = None,
    ) -> Tensor:
        """Attend from the queries over the memory; without rotary tables position is not seen."""
        query = self.query(queries_TBD).view(*queries_TBD.shape[:2], *self.heads)
        key = self.key(memory_SBD).view(*memory_SBD.shape[:2], *self.heads)
        value = self.value(memory_SBD).view(*memory_SBD.shape[:2], *self.heads)
        if self.qk_norm:
            query, key = rms_norm(query), rms_norm(key)
        if query_rope is not None:
            query = rotate(query, *query_rope)
        if memory_rope is not None:
            key = rotate(key, *memory_rope)
        query = query.expand(-1, key.shape[1], -1, -1)
        out: Tensor = self.out(attend(query, key, value).flatten(2))
        return out
