"""K multilayer perceptrons side by side over a table's columns.

    columns ──Tokenizer──▶ tokens, end to end ──hidden layers──▶ head ──▶ logits of K members

Notable:

- The tokens are those of the `Transformer`; behind them nothing is shared. Every layer of all K members is one batched
  matrix product, so that an ensemble is trained in one run and costs what one wide network would
  (TabPack and the packed variant of TabM, Gorishniy et al. 2024, arXiv 2410.24210).
- Members start apart, see the same rows and are each trained on a loss of their own (`member_loss`).

Legend: B batch, T column tokens, F numeric features, C categorical features, D width, I inputs, K members, M hidden
width, O outputs.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlpipe.errors import DataError
from mlpipe.models.blocks import GATES, RowDropout
from mlpipe.models.config import TransformerConfig
from mlpipe.models.heads import LinearHead
from mlpipe.models.init import initialise
from mlpipe.models.members import MemberLinear
from mlpipe.models.tokenizers import Tokenizer
from mlpipe.schema import InputSpec


class MLP(nn.Module):
    """Rows of a table in, logits of K ensemble members out.

    Args:
        config: The architecture, with `trunk: mlp`.
        spec: The columns and the number of outputs.

    Raises:
        DataError: There is no column to learn from.

    Shape:
        numeric float32 (B, F), missing bool (B, F), categorical integers (B, C) -> logits (B, K, O).

    Examples:
        >>> import torch
        >>> from mlpipe.schema import NumericFeature
        >>> spec = InputSpec((NumericFeature("age", "age", bins=(-1.0, 0.0, 1.0)),), (), num_outputs=3)
        >>> model = MLP(TransformerConfig(trunk="mlp", members=4), spec)
        >>> model(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool), torch.zeros(2, 0, dtype=torch.int32)).shape
        torch.Size([2, 4, 3])
    """

    def __init__(self, config: TransformerConfig, spec: InputSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.tokenizer = Tokenizer(config, spec)
        if self.tokenizer.num_tokens == 0:
            raise DataError("The table has no column to learn from; at least one column has to be a feature.")
        inputs = [self.tokenizer.num_tokens * config.width] + [config.member_width] * (config.num_layers - 1)
        self.layers = nn.ModuleList(MemberLinear(config.members, size, config.member_width) for size in inputs)
        self.activation = GATES[config.gate]
        self.dropout = RowDropout(config.dropout)
        self.head = LinearHead(config.members, config.member_width, spec.num_outputs)
        initialise(self, config)

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        """Logits (B, K, O) of every member."""
        tokens_TBD = self.tokenizer(numeric_BF, missing_BF, categorical_BC)
        x_KBM = tokens_TBD.transpose(0, 1).flatten(1).unsqueeze(0)
        for layer in self.layers:
            x_KBM = self.dropout(self.activation(layer(x_KBM)))
        logits: Tensor = self.head(x_KBM.transpose(0, 1))
        return logits
