"""Models over `Arrays`: tokenizers, the `Transformer` and the `MLP` over their tokens, heads. torch only."""

from mlpipe.models.build import Ensemble, TableModel, build_model
from mlpipe.models.config import TransformerConfig
from mlpipe.models.heads import member_average, member_loss
from mlpipe.models.mlp import MLP
from mlpipe.models.parameters import parameter_groups
from mlpipe.models.transformer import Transformer

__all__ = [
    "MLP",
    "Ensemble",
    "TableModel",
    "Transformer",
    "TransformerConfig",
    "build_model",
    "member_average",
    "member_loss",
    "parameter_groups",
]
