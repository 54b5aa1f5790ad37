"""Which parameters are hidden matrices, which are decayed, and which are left alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from mlpipe.models.blocks import Block
from mlpipe.models.heads import AdditiveHead, LinearHead, MemberHead
from mlpipe.models.members import MemberLinear
from mlpipe.models.tokenizers import NumericTokenizer


def parameter_groups(model: nn.Module, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """The model's parameters in groups, as torch's optimisers take them.

    - `matrices`: the blocks' matrices (attention and MLP) and those of the `mlp` trunk, for Muon or decayed AdamW;
    - `decay`: the other weights that are multiplied into activations of many inputs: encodings of numbers, heads;
    - `no_decay`: biases, norms, frequencies, adapters, every token and embedding.

    Args:
        model: A `TableModel`, or a module that holds one.
        weight_decay: Of the first two groups; the last has none.

    Returns:
        Three dicts with `name`, `params`, `param_names` and `weight_decay`; every trainable parameter is in one.
    """
    matrices: set[int] = set()
    decay: set[int] = set()
    for module in model.modules():
        match module:
            case Block():
                matrices.update(id(parameter) for parameter in module.parameters())
            case MemberLinear():
                matrices.add(id(module.weight))
            case NumericTokenizer() if module.weight is not None:
                decay.add(id(module.weight))
            case MemberHead():
                decay.add(id(module.shared.weight))
            case LinearHead() | AdditiveHead():
                decay.add(id(module.weight))
    decays = {"matrices": weight_decay, "decay": weight_decay, "no_decay": 0.0}
    groups: dict[str, dict[str, Any]] = {
        name: {"name": name, "params": [], "param_names": [], "weight_decay": value} for name, value in decays.items()
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = "matrices" if id(parameter) in matrices else "decay" if id(parameter) in decay else "no_decay"
        groups[key]["params"].append(parameter)
        groups[key]["param_names"].append(name)
    return list(groups.values())
