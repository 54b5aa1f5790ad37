"""Multi-head attention from query tokens over memory tokens.

Notable:

- Tokens come first, (T, B, D), and each head's keys and values lie side by side: rows and heads are then one batch
  dimension without a copy, for the fused kernel and for plain batched products alike.
- On CUDA the product is `scaled_dot_product_attention`. On CPU it is written out, `attend_plainly`: for the few
  tokens of a table's row torch 2.13's fused CPU kernel is slower, several times so in bfloat16.
- No dropout inside: it rules out the fused kernels.

Legend: B batch, T query tokens, S memory tokens, D width, H heads, E head width (D = H E), N = B H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.models.rope import rotate

#: Cosines and sines as `rotary_table` gives them.
RotaryTable = tuple[Tensor, Tensor]


def attend_plainly(query_NTE: Tensor, key_NSE: Tensor, value_NSE: Tensor) -> Tensor:
    """What `scaled_dot_product_attention` computes, in three steps.

    Returns:
        (N, T, E).
    """
    scores_NTS = torch.bmm(query_NTE, key_NSE.transpose(1, 2)) * query_NTE.shape[-1] ** -0.5
    return torch.bmm(scores_NTS.softmax(-1), value_NSE)


def attend(query_TBHE: Tensor, key_SBHE: Tensor, value_SBHE: Tensor) -> Tensor:
    """Softmax attention of every row and head by itself.

    Returns:
        (T, B, H, E).
    """
    if query_TBHE.is_cpu and not torch.compiler.is_exporting():
        query, key, value = (tensor.flatten(1, 2).transpose(0, 1) for tensor in (query_TBHE, key_SBHE, value_SBHE))
        return attend_plainly(query, key, value).transpose(0, 1).view(query_TBHE.shape)
    query, key, value = (tensor.permute(1, 2, 0, 3) for tensor in (query_TBHE, key_SBHE, value_SBHE))
    return functional.scaled_dot_product_attention(query, key, value).permute(2, 0, 1, 3)


class Attention(nn.Module):
    """Queries from one set of tokens, keys and values from another or the same.

    Args:
        width: D.
        num_heads: H.
        qk_norm: Normalise every query and key to the same length.

    Shape:
        queries (T, B, D), memory (S, B, D) -> (T, B, D).
    """

    def __init__(self, width: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qk_norm = qk_norm
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        queries_TBD: Tensor,
        memory_SBD: Tensor,
        query_rope: RotaryTable | None = None,
        memory_rope: RotaryTable | None = None,
    ) -> Tensor:
        """Attend from the queries over the memory; without rotary tables position is not seen."""
        query = self.query(queries_TBD).unflatten(-1, (self.num_heads, -1))
        key, value = self.key_value(memory_SBD).unflatten(-1, (self.num_heads, 2, -1)).unbind(-2)
        if self.qk_norm:
            query, key = (functional.rms_norm(tensor, tensor.shape[-1:]) for tensor in (query, key))
        if query_rope is not None and memory_rope is not None:
            query, key = rotate(query, *query_rope), rotate(key, *memory_rope)
        out: Tensor = self.out(attend(query, key, value).flatten(2))
        return out
