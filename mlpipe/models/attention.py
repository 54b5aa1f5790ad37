"""Multi-head attention from a few query tokens over all tokens.

Legend: B batch, T query tokens, S key tokens, D width, H heads, E head width (D = H E).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mlpipe.models.rope import rotate

#: Cosines and sines as `rotary_table` gives them.
RotaryTable = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Queries, keys and values from one fused matrix, rotary position, `scaled_dot_product_attention`.

    There is no dropout inside: on CPU it rules out the fused kernel.

    Args:
        width: D.
        num_heads: H.
        qk_norm: Normalise every query and key to the same length.

    Shape:
        queries (B, T, D), memory (B, S, D) -> (B, T, D).
    """

    def __init__(self, width: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qk_norm = qk_norm
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        queries_BTD: Tensor,
        memory_BSD: Tensor | None = None,
        query_rope: RotaryTable | None = None,
        memory_rope: RotaryTable | None = None,
    ) -> Tensor:
        """Attend from `queries_BTD` over `memory_BSD`, or over the queries themselves if that is None."""
        batch, tokens, width = queries_BTD.shape
        heads = (self.num_heads, width // self.num_heads)
        if memory_BSD is None:
            q, k, v = self.qkv(queries_BTD).view(batch, tokens, 3, *heads).unbind(2)
            memory_rope = query_rope
        else:
            query_weight, query_bias = self.qkv.weight[:width], self.qkv.bias[:width]
            q = functional.linear(queries_BTD, query_weight, query_bias).view(batch, tokens, *heads)
            kv = functional.linear(memory_BSD, self.qkv.weight[width:], self.qkv.bias[width:])
            k, v = kv.view(batch, -1, 2, *heads).unbind(2)
        if self.qk_norm:
            q, k = functional.rms_norm(q, heads[1:]), functional.rms_norm(k, heads[1:])
        if query_rope is not None and memory_rope is not None:
            q, k = rotate(q, *query_rope), rotate(k, *memory_rope)
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        mixed_BHTE = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed_BHTE.transpose(1, 2).reshape(batch, tokens, width))
        return out
