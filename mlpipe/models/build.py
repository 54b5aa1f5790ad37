"""From a config to the model that it describes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mlpipe.models.config import TransformerConfig
from mlpipe.models.mlp import MLP
from mlpipe.models.transformer import Transformer
from mlpipe.schema import InputSpec


class Ensemble(nn.Module):
    """Networks side by side that share nothing, trained as one; the members of all are the members of the ensemble.

    Their gradients are a share of what each would have alone. Neither AdamW nor Muon sees that: both divide it out.

    Args:
        config: The architecture, with `ensemble` networks of it.
        spec: The columns and the number of outputs.

    Shape:
        As one network's, with the K members of every network one after another.

    Examples:
        >>> from mlpipe.schema import CategoricalFeature
        >>> spec = InputSpec((), (CategoricalFeature("job", "job", cardinality=7),), num_outputs=3)
        >>> model = Ensemble(TransformerConfig(ensemble=2, readout_tokens=4), spec)
        >>> model(torch.zeros(5, 0), torch.zeros(5, 0, dtype=torch.bool), torch.full((5, 1), 3)).shape
        torch.Size([5, 8, 3])
    """

    def __init__(self, config: TransformerConfig, spec: InputSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        alone = replace(config, ensemble=1)
        self.networks = nn.ModuleList(build_model(alone, spec) for _ in range(config.ensemble))

    def forward(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        """Logits (B, K, O) of every network's members."""
        return torch.cat([network(numeric_BF, missing_BF, categorical_BC) for network in self.networks], dim=1)


#: Any of the models: columns in, logits (B, K, O) of K members out.
TableModel = Transformer | MLP | Ensemble


def build_model(config: TransformerConfig, spec: InputSpec) -> TableModel:
    """The model that a config describes for a table, with fresh weights from torch's global generator.

    Its `config` has `trunk: auto` decided.

    Raises:
        DataError: There is no column to learn from.
    """
    config = config.for_outputs(spec.num_outputs)
    if config.ensemble > 1:
        return Ensemble(config, spec)
    return MLP(config, spec) if config.trunk == "mlp" else Transformer(config, spec)
