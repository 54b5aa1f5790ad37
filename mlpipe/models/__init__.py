"""Models over `Arrays`: tokenizers, blocks, heads, and the `Transformer` that they make. torch only."""

from mlpipe.models.config import TransformerConfig
from mlpipe.models.heads import member_average, member_loss
from mlpipe.models.parameters import parameter_groups
from mlpipe.models.transformer import Transformer

__all__ = ["Transformer", "TransformerConfig", "member_average", "member_loss", "parameter_groups"]
