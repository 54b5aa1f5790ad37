"""Readout tokens become logits of K ensemble members; what columns add by themselves; the members' losses and average.

The loss is the mean of the members' losses, not the loss of their mean: every member has to predict by itself,
and that is what makes them differ (TabM, Gorishniy et al. 2024, arXiv 2410.24210). Probabilities are averaged.

Legend: B batch, T column tokens, K members, D width, M hidden width, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.schema import TaskKind


class LinearHead(nn.Module):
    """A linear map of its own for every readout token.

    Shape:
        (B, K, D) -> (B, K, O).
    """

    def __init__(self, num_members: int, width: int, num_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_members, width, num_outputs))
        self.bias = nn.Parameter(torch.empty(num_members, num_outputs))

    def forward(self, x_BKD: Tensor) -> Tensor:
        """Logits of every member."""
        return torch.einsum("bkd,kdo->bko", x_BKD, self.weight) + self.bias


class AdditiveHead(nn.Module):
    """What every column adds to the logits by itself, the same for all members: a linear map from each token, summed.

    With tokens that are piecewise linear in a number it is an additive model of linear splines (Hastie and Tibshirani
    1986); beside a deep network it is what Cheng et al. 2016 (arXiv 1606.07792) call the wide part. It starts at 0.

    Shape:
        (T, B, D) -> (B, O).
    """

    def __init__(self, num_tokens: int, width: int, num_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_tokens, width, num_outputs))

    def forward(self, tokens_TBD: Tensor) -> Tensor:
        """The sum over the columns."""
        return torch.bmm(tokens_TBD, self.weight).sum(0)


class MemberHead(nn.Module):
    """K MLPs with one hidden layer, one matrix shared by all and rank-one adapters of their own (TabM).

    Shape:
        (B, 1, D) -> (B, K, O).
    """

    def __init__(self, num_members: int, width: int, hidden_width: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.scale_in = nn.Parameter(torch.empty(num_members, width))
        self.shared = nn.Linear(width, hidden_width, bias=False)
        self.scale_out = nn.Parameter(torch.empty(num_members, hidden_width))
        self.bias = nn.Parameter(torch.empty(num_members, hidden_width))
        self.dropout = nn.Dropout(dropout)
        self.out = LinearHead(num_members, hidden_width, num_outputs)

    def forward(self, x_B1D: Tensor) -> Tensor:
        """Logits of every member."""
        hidden_BKM = self.shared(x_B1D * self.scale_in) * self.scale_out + self.bias
        out: Tensor = self.out(self.dropout(hidden_BKM.relu()))
        return out


def member_loss(
    logits_BKO: Tensor,
    target: Tensor,
    kind: TaskKind,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
    quantiles: tuple[float, ...] | None = None,
) -> Tensor:
    """Mean over the members of each one's mean loss over the rows, in float32; means of batches average to a whole's.

    Args:
        logits_BKO: As `Transformer` gives them.
        target: As in `Arrays.target`: class ids (B,) for binary and multiclass, 0 and 1 (B, O) for multilabel,
            standardised values (B,) for regression.
        kind: Cross-entropy for the three classifications; squared error for regression, or the pinball loss.
        weight: Sample weights (B,), 1 in the mean over all training rows: a loss is multiplied by them, and not divided
            by what they sum to in a batch, for then a batch without a row that counts much would count as one with it.
        label_smoothing: Share of the target's mass spread evenly over the classes; ignored for regression.
        class_weight: (C,) what rows count by their class, times their sample weight, scaled like those. Multilabel:
            (O,) what rows that have a label count in its loss.
        quantiles: Regression: the quantile that each output is to be, with the pinball loss (Koenker and Bassett 1978).

    Returns:
        A scalar.
    """
    logits = logits_BKO.float()
    members = logits.shape[1]
    if kind is TaskKind.MULTICLASS:
        repeated = target.long().unsqueeze(1).expand(-1, members)
        loss_BK = functional.cross_entropy(
            logits.transpose(1, 2), repeated, reduction="none", label_smoothing=label_smoothing
        )
    else:
        target_BKO = target.float().reshape(target.shape[0], 1, -1).expand_as(logits)
        if quantiles is not None:
            loss_BK = _pinball(target_BKO - logits, quantiles).mean(-1)
        elif kind is TaskKind.REGRESSION:
            loss_BK = functional.mse_loss(logits, target_BKO, reduction="none").mean(-1)
        else:
            smoothed = target_BKO * (1 - label_smoothing) + label_smoothing / 2
            positive = class_weight if kind is TaskKind.MULTILABEL else None
            loss_BK = functional.binary_cross_entropy_with_logits(
                logits, smoothed, reduction="none", pos_weight=positive
            ).mean(-1)
    loss_B = loss_BK.mean(1)
    if class_weight is not None and kind is not TaskKind.MULTILABEL:
        of_class_B = class_weight[target.long()]
        weight = of_class_B if weight is None else weight * of_class_B
    return (loss_B if weight is None else loss_B * weight).mean()


def _pinball(residual_BKO: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    q_O = residual_BKO.new_tensor(quantiles)
    return torch.maximum(q_O * residual_BKO, (q_O - 1) * residual_BKO)


def member_average(logits_BKO: Tensor, kind: TaskKind, temperature: float = 1.0) -> Tensor:
    """The ensemble's answer: the mean of the members' probabilities, or of their values for regression.

    Args:
        logits_BKO: As `Transformer` gives them.
        kind: Binary and multilabel: sigmoid; multiclass: softmax over O; regression: as it is; several outputs are
            quantiles and come in ascending order, since members may let them cross (Chernozhukov et al. 2010).
        temperature: Divides the logits of a classification; above 1 makes it less sure.

    Returns:
        float32 (B, O).
    """
    logits = logits_BKO.float()
    if kind is TaskKind.REGRESSION:
        return logits.mean(1).sort(-1).values
    logits = logits / temperature
    probabilities = logits.softmax(-1) if kind is TaskKind.MULTICLASS else logits.sigmoid()
    return probabilities.mean(1)
