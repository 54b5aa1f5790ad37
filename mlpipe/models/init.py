"""Where every weight of a model starts, all in one place.

- Matrices: uniform in ±1/sqrt(inputs), as `nn.Linear` has it; they have no biases. Heads: the same, biases 0.
- What columns add by themselves: 0.
- Members' hidden matrices: uniform in ±sqrt(6/inputs) (He et al. 2015), since no norm makes good what a layer takes
  from the size of its input.
- Tokens of every sort: uniform in ±1/sqrt(width) (FT-Transformer, Gorishniy et al. 2021), so that columns of all
  kinds start alike; what is learned only by exception (missing, unseen, padding) starts at 0: a missing number
  starts as the number 0, an unseen category as its column.
- Piecewise-linear weights: 0 beside a random linear term (TabM's version): the model starts linear in each number.
- Frequencies: normal, cut at three standard deviations; phases uniform over the circle.
- A member's first adapter: standard normal, which is what makes the members differ; its others 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlpipe.models.config import TransformerConfig
from mlpipe.models.encodings import PeriodicEncoding, PiecewiseLinearEncoding
from mlpipe.models.heads import AdditiveHead, LinearHead, MemberHead
from mlpipe.models.members import MemberLinear
from mlpipe.models.tokenizers import CategoricalTokenizer, GroupTokenizer, NumericTokenizer, ReadoutTokens
from mlpipe.schema import PAD_ID, UNSEEN_ID


def uniform_(tensor: Tensor, inputs: int) -> None:
    """Fill with numbers uniform in ±1/sqrt(inputs)."""
    bound = inputs**-0.5
    nn.init.uniform_(tensor, -bound, bound)


@torch.no_grad()
def initialise(model: nn.Module, config: TransformerConfig) -> None:
    """Set every parameter of `model`, drawing from torch's global generator in the order of `model.modules()`."""
    for module in model.modules():
        match module:
            case NumericTokenizer():
                _initialise_numeric(module)
            case PeriodicEncoding():
                scale = config.frequency_scale
                nn.init.trunc_normal_(module.frequencies, std=scale, a=-3 * scale, b=3 * scale)
                if module.phases is not None:
                    nn.init.uniform_(module.phases, -math.pi, math.pi)
            case GroupTokenizer():
                uniform_(module.weight, config.width)
                uniform_(module.bias, config.width)
                module.missing.zero_()
            case CategoricalTokenizer():
                _initialise_categorical(module)
            case ReadoutTokens():
                uniform_(module.weight, config.width)
            case MemberHead():
                nn.init.normal_(module.scale_in)
                module.scale_out.fill_(1)
                module.bias.zero_()
            case AdditiveHead():
                module.weight.zero_()
            case LinearHead():
                uniform_(module.weight, module.weight.shape[1])
                module.bias.zero_()
            case MemberLinear():
                uniform_(module.weight, module.weight.shape[-1])
                module.weight.mul_(math.sqrt(6))
                uniform_(module.bias, module.weight.shape[-1])
            case nn.Linear():
                uniform_(module.weight, module.in_features)


def _initialise_categorical(module: CategoricalTokenizer) -> None:
    width = module.bias.shape[-1]
    uniform_(module.table.weight, width)
    uniform_(module.bias, width)
    for never_trained in (PAD_ID, UNSEEN_ID):
        module.table.weight[module.offsets + never_trained] = 0


def _initialise_numeric(module: NumericTokenizer) -> None:
    width = module.bias.shape[-1]
    uniform_(module.bias, width)
    module.missing.zero_()
    if module.slope is not None:
        uniform_(module.slope, width)
    if module.weight is not None:
        if isinstance(module.encoding, PiecewiseLinearEncoding):
            module.weight.zero_()
        else:
            uniform_(module.weight, module.weight.shape[1])
