"""The Transformer over a table's columns.

    columns ──Tokenizer──▶ tokens ──Block, L times──▶ readout tokens ──norm, head──▶ logits of K members
                              └────────────── a linear map of each, summed ──────────────▲

Notable:

- Pre-norm, residual, rotary position or none, gated MLP; the first norm is left out by default (FT-Transformer).
- The last block computes its readout tokens only: nothing else is read.
- `readout: last` lets the readout tokens in at the last block only, which costs K tokens there and nothing before
  (class attention in CaiT, Touvron et al. 2021, arXiv 2103.17239).
- Beside the blocks every column adds to the logits by itself (`AdditiveHead`): what needs no interaction is learnt at
  once, by a map that cannot learn rows by heart.
- Readout tokens share position 0, so that no member is nearer to a column than another; columns stand at 1, 2, ….

Legend: B batch, T column tokens, F numeric features, C categorical features, D width, K members, R readout tokens,
O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlpipe.errors import DataError
from mlpipe.models.attention import RotaryTable
from mlpipe.models.blocks import Block
from mlpipe.models.config import TransformerConfig
from mlpipe.models.heads import AdditiveHead, LinearHead, MemberHead
from mlpipe.models.init import initialise
from mlpipe.models.norm import RMSNorm
from mlpipe.models.rope import rotary_frequencies, rotary_table
from mlpipe.models.tokenizers import ReadoutTokens, Tokenizer
from mlpipe.schema import InputSpec


class Transformer(nn.Module):
    """Rows of a table in, logits of K ensemble members out.

    Args:
        config: The architecture.
        spec: The columns and the number of outputs.

    Raises:
        DataError: There is no column to learn from.

    Shape:
        numeric float32 (B, F), missing bool (B, F), categorical integers (B, C) -> logits (B, K, O).

    Examples:
        >>> from mlpipe.schema import CategoricalFeature, NumericFeature
        >>> age = NumericFeature("age", "age", bins=(-1.0, 0.0, 1.0))
        >>> job = CategoricalFeature("job", "job", cardinality=7)
        >>> model = Transformer(TransformerConfig(readout_tokens=4), InputSpec((age,), (job,), num_outputs=3))
        >>> model(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool), torch.full((2, 1), 3)).shape
        torch.Size([2, 4, 3])
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig, spec: InputSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.tokenizer = Tokenizer(config, spec)
        if self.tokenizer.num_tokens == 0:
            raise DataError("The table has no column to learn from; at least one column has to be a feature.")
        self.num_readouts = config.num_readouts
        self.readout = ReadoutTokens(self.num_readouts, config.width)
        self.blocks = nn.ModuleList(
            Block(config, attention_norm=config.first_norm or index > 0) for index in range(config.num_layers)
        )
        self.norm = RMSNorm()
        self.head: LinearHead | MemberHead
        if config.head == "linear":
            self.head = LinearHead(config.num_members, config.width, spec.num_outputs)
        else:
            self.head = MemberHead(
                config.num_members, config.width, config.member_width, spec.num_outputs, config.dropout
            )
        self.additive: AdditiveHead | None = None
        if config.additive:
            self.additive = AdditiveHead(self.tokenizer.num_tokens, config.width, spec.num_outputs)
        if config.rope == "index":
            columns = torch.arange(1, self.tokenizer.num_tokens + 1)
            positions = torch.cat((torch.zeros(self.num_readouts), columns))
            cos, sin = rotary_table(positions, rotary_frequencies(config.head_width, config.rope_base))
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        initialise(self, config)

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        """Logits (B, K, O) of every member."""
        tokens_TBD = self.tokenizer(numeric_BF, missing_BF, categorical_BC)
        alone_BO = None if self.additive is None else self.additive(tokens_TBD)
        readouts = self.num_readouts
        *trunk, last = self.blocks  # whose queries stand at position 0, which is no turn at all
        if self.config.readout == "all":
            x_SBD = torch.cat((self.readout(numeric_BF.shape[0]), tokens_TBD))
            for block in trunk:
                x_SBD = block(x_SBD, query_rope=self._rope(0, None))
            x_RBD = last(x_SBD[:readouts], x_SBD, None, self._rope(0, None))
        else:
            for block in trunk:
                tokens_TBD = block(tokens_TBD, query_rope=self._rope(readouts, None))
            x_RBD = last(self.readout(1), tokens_TBD, None, self._rope(readouts, None))
        logits: Tensor = self.head(self.norm(x_RBD).transpose(0, 1))
        return logits if alone_BO is None else logits + alone_BO.unsqueeze(1)

    def _rope(self, start: int, stop: int | None) -> RotaryTable | None:
        """The rotary table of a range of [readout tokens, columns]."""
        if self.config.rope == "none":
            return None
        return self.cos[start:stop], self.sin[start:stop]
