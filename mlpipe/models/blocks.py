"""The gated MLP and the pre-norm block.

Legend: B batch, T query tokens, S key tokens, D width, M hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from mlpipe.models.attention import Attention, RotaryTable
from mlpipe.models.config import TransformerConfig

#: Activation of the gating half by name (Shazeer 2020, arXiv 2002.05202).
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": functional.silu,
    "geglu": functional.gelu,
    "reglu": functional.relu,
}

EPSILON = 1e-6


class GatedMLP(nn.Module):
    """`out(activation(gate x) * up x)`, gate and up being one matrix.

    Shape:
        (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, hidden_width: int, gate: str = "swiglu", dropout: float = 0.0) -> None:
        super().__init__()
        self.activation = GATES[gate]
        self.up = nn.Linear(width, 2 * hidden_width)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden_width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to every token by itself."""
        gate_BTM, up_BTM = self.up(x_BTD).chunk(2, dim=-1)
        out: Tensor = self.down(self.dropout(self.activation(gate_BTM) * up_BTM))
        return out


class Block(nn.Module):
    """Attention and gated MLP, each behind a norm and beside a residual.

    The norms have no gain: the matrix behind each would only repeat it.

    Args:
        config: Widths, heads, gate and dropout.
        attention_norm: Whether the attention's input is normalised; the first block may leave it out.

    Shape:
        queries (B, T, D), memory (B, S, D) -> (B, T, D).
    """

    def __init__(self, config: TransformerConfig, attention_norm: bool = True) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, EPSILON, elementwise_affine=False) if attention_norm else None
        self.attention = Attention(config.width, config.num_heads, config.qk_norm)
        self.mlp_norm = nn.RMSNorm(config.width, EPSILON, elementwise_affine=False)
        self.mlp = GatedMLP(config.width, config.hidden_width, config.gate, config.dropout)

    def forward(
        self,
        queries_BTD: Tensor,
        memory_BSD: Tensor | None = None,
        query_rope: RotaryTable | None = None,
        memory_rope: RotaryTable | None = None,
    ) -> Tensor:
        """Update the query tokens from the memory, or from themselves if there is none."""
        normed_queries, normed_memory = queries_BTD, memory_BSD
        if self.attention_norm is not None:
            normed_queries = self.attention_norm(queries_BTD)
            normed_memory = None if memory_BSD is None else self.attention_norm(memory_BSD)
        x_BTD = queries_BTD + self.attention(normed_queries, normed_memory, query_rope, memory_rope)
        out: Tensor = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return out
