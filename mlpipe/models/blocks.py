"""The gated MLP and the pre-norm block.

Legend: B batch, T query tokens, S memory tokens, D width, M hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from mlpipe.models.attention import Attention, RotaryTable
from mlpipe.models.config import TransformerConfig
from mlpipe.models.norm import RMSNorm

#: Activation of the gating half by name (Shazeer 2020, arXiv 2002.05202).
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": functional.silu,
    "geglu": functional.gelu,
    "reglu": functional.relu,
}


class RowDropout(nn.Module):
    """Dropout whose mask is drawn once per row and shared by the row's tokens.

    A random number per hidden unit and token costs as much as the matrix product behind it on a CPU; a mask per row
    costs 1/T of that. `bernoulli_` has no compiled form there: compiled and eager models draw the same numbers.

    Shape:
        (T, B, M) -> (T, B, M).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x_TBM: Tensor) -> Tensor:
        """Drop while training; otherwise nothing."""
        if not self.training or self.probability == 0:
            return x_TBM
        keep = 1 - self.probability
        return x_TBM * (x_TBM.new_empty(x_TBM.shape[1:]).bernoulli_(keep) / keep)


class GatedMLP(nn.Module):
    """`down(activation(gate) * up)`, gate and up from one matrix.

    Shape:
        (T, B, D) -> (T, B, D).
    """

    def __init__(self, width: int, hidden_width: int, gate: str = "swiglu", dropout: float = 0.0) -> None:
        super().__init__()
        self.activation = GATES[gate]
        self.up = nn.Linear(width, 2 * hidden_width, bias=False)
        self.dropout = RowDropout(dropout)
        self.down = nn.Linear(hidden_width, width, bias=False)

    def forward(self, x_TBD: Tensor) -> Tensor:
        """Apply to every token by itself."""
        gate_TBM, up_TBM = self.up(x_TBD).chunk(2, dim=-1)
        out: Tensor = self.down(self.dropout(self.activation(gate_TBM) * up_TBM))
        return out


class Block(nn.Module):
    """Attention and gated MLP, each behind a norm and beside a residual.

    Matrices have no bias: the tokens, which differ by column and by readout, bring what it would add.

    Args:
        config: Widths, heads, gate and dropout.
        attention_norm: Whether the attention's input is normalised; the first block may leave it out.

    Shape:
        queries (T, B, D), or (T, 1, D) if they are the same for every row; memory (S, B, D) -> (T, B, D).
    """

    def __init__(self, config: TransformerConfig, attention_norm: bool = True) -> None:
        super().__init__()
        self.attention_norm = RMSNorm() if attention_norm else nn.Identity()
        self.attention = Attention(config.width, config.num_heads, config.qk_norm)
        self.mlp_norm = RMSNorm()
        self.mlp = GatedMLP(config.width, config.hidden_width, config.gate, config.dropout)

    def forward(
        self,
        queries_TBD: Tensor,
        memory_SBD: Tensor | None = None,
        query_rope: RotaryTable | None = None,
        memory_rope: RotaryTable | None = None,
    ) -> Tensor:
        """Update the query tokens from the memory, or from one another if there is none."""
        normed_queries = normed_memory = self.attention_norm(queries_TBD)
        if memory_SBD is None:
            memory_rope = query_rope
        else:
            normed_memory = self.attention_norm(memory_SBD)
        x_TBD = queries_TBD + self.attention(normed_queries, normed_memory, query_rope, memory_rope)
        out: Tensor = x_TBD + self.mlp(self.mlp_norm(x_TBD))
        return out
