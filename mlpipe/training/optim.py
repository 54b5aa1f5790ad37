"""AdamW, Muon for the hidden matrices, and the warm-up + cosine schedule.

Notable:
- Muon (Jordan et al. 2024) replaces a matrix's momentum by its nearest semi-orthogonal matrix, found by five steps of
  a Newton-Schulz iteration. `torch.optim.Muon` takes one matrix at a time; a table model has few and small ones, for
  which the calls cost more than the arithmetic. Here matrices of one shape are iterated as one batch.
- A fused projection (the gate and the value of the MLP in one matrix) is cut into its parts first: each is a map of
  its own, and orthogonalising them together would tie their scales.
- Where the model's products run in bfloat16 the iteration does too, as Jordan et al. have it: it needs a third of the
  time on a processor with such units, and ends no further from an orthogonal matrix.
- Both live in one `Optimizer`, so that Lightning's automatic optimisation, gradient clipping, accumulation and
  checkpoints work as with any other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mlpipe.models import TableModel, parameter_groups
from mlpipe.training.config import TrainingConfig

# The quintic of Jordan et al.: its slope at zero is as steep as can be, at the price of singular values which end
# between about 0.7 and 1.2 and not at one; the update's quality does not suffer.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
#: From so many times as many columns as rows on the iteration goes by the Gram matrix: half of its products are saved
#: at four times, and none below one and a half.
GRAM_FROM = 2


def orthogonalize(matrices_NRC: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """The nearest semi-orthogonal matrix of each matrix in a batch, roughly.

    Args:
        matrices_NRC: float (N, R, C).
        steps: Newton-Schulz iterations.

    Returns:
        (N, R, C): U S V^T with singular values near one where the input's is U Σ V^T.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices_NRC.size(-2) > matrices_NRC.size(-1)
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if x.dtype == torch.float32 and x.size(-1) >= GRAM_FROM * x.size(-2):
        x = _by_gram_matrix(x, steps)
    else:
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_gram_matrix(x_NRC: Tensor, steps: int) -> Tensor:
    """The same iteration for matrices much wider than tall, which are multiplied twice and not twice a step.

    A step is x <- P x, P a polynomial in x x^T: all steps take place between (R, R) matrices, of which the product is
    applied once. Products of x with itself square the span of its singular values, for which bfloat16 is too short.
    """
    a, b, c = NEWTON_SCHULZ
    gram_NRR = x_NRC @ x_NRC.mT
    product_NRR: Tensor | None = None
    for step in range(steps):
        p_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        p_NRR.diagonal(dim1=-2, dim2=-1).add_(a)
        product_NRR = p_NRR if product_NRR is None else p_NRR @ product_NRR
        if step + 1 < steps:
            gram_NRR = p_NRR @ gram_NRR @ p_NRR
    return x_NRC if product_NRR is None else product_NRR @ x_NRC


class MuonAdamW(AdamW):
    """Muon for the parameter groups that say `muon: True`, AdamW for the others.

    Args:
        groups: Parameter groups; a group with `muon: True` holds matrices only and may name, in `chunks`, into how
            many equal parts each of its matrices is cut along the first dimension.
        lr: Learning rate of the groups that name none.
        momentum: Nesterov momentum of Muon.
        precision: Of Muon's iteration.
        kwargs: For AdamW.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> None:
        self.momentum = momentum
        self.precision = precision
        super().__init__([{"muon": False, **group} for group in groups], lr=lr, **kwargs)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it
        """One step of both; the closure, if any, is evaluated once."""
        loss = None
        if closure is not None:
            # Before any group is hidden: Lightning's closure clips the gradients of all groups.
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["muon"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._muon_step(group)
        return loss

    def _muon_step(self, group: dict[str, Any]) -> None:
        lr, chunks = group["lr"], group.get("chunks", 1)
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        for shape, parameters in by_shape.items():
            rows, columns = shape[-2:]
            buffers = [self._momentum_buffer(parameter) for parameter in parameters]
            grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
            torch._foreach_lerp_(buffers, grads, 1 - self.momentum)
            looked_ahead = torch._foreach_lerp(grads, buffers, self.momentum)
            parts = torch.stack(looked_ahead).view(-1, rows // chunks, columns)
            updates = orthogonalize(parts.to(self.precision)).to(parts.dtype).reshape(len(parameters), *shape)
            # Jordan's scale: the update's root-mean-square is the same for every shape.
            scale = lr * math.sqrt(max(1.0, rows / chunks / columns))
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, list(updates.unbind()), alpha=-scale)

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
            state["step"] = torch.zeros(())  # AdamW looks for it in every state that it loads
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def warmup_cosine(step: int, total: int, warmup_fraction: float, final_fraction: float = 0.0) -> float:
    """The learning rate's factor at a step: up linearly, down along a cosine.

    Examples:
        >>> [round(warmup_cosine(step, 100, 0.1), 3) for step in (0, 4, 9, 10, 55, 100)]
        [0.1, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = round(warmup_fraction * total)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_cosine_schedule(
    optimizer: torch.optim.Optimizer, total: int, warmup_fraction: float, final_fraction: float
) -> LambdaLR:
    """`warmup_cosine` as a scheduler to be stepped after each optimiser step."""
    return LambdaLR(optimizer, lambda step: warmup_cosine(step, total, warmup_fraction, final_fraction))


#: How many maps of their own the blocks' fused matrices hold.
FUSED_PARTS = {"up.weight": 2}


def build_optimizer(
    net: TableModel, config: TrainingConfig, *, fused: bool, precision: torch.dtype = torch.float32
) -> torch.optim.Optimizer:
    """The recipe's optimiser for a network.

    Args:
        net: The network.
        config: The recipe, with its learning rates; see `TrainingConfig.at_batch_size`.
        fused: Use AdamW's fused step.
        precision: Of Muon's iteration.
    """
    assert config.lr is not None  # `train` has seen to it
    assert config.muon_lr is not None
    options: dict[str, Any] = {"lr": config.lr, "betas": (config.beta1, config.beta2), "fused": fused}
    groups = [group for group in parameter_groups(net, config.weight_decay) if group["params"]]
    if config.optimizer == "adamw":
        return AdamW(groups, **options)
    return MuonAdamW(
        [part for group in groups for part in _for_muon(group, config.muon_lr)], precision=precision, **options
    )


def _for_muon(group: dict[str, Any], lr: float) -> list[dict[str, Any]]:
    """The group of hidden matrices, by the number of maps that each matrix holds; other groups as they are."""
    if group["name"] != "matrices":
        return [group]
    split: dict[int, dict[str, Any]] = {}
    for name, parameter in zip(group["param_names"], group["params"], strict=True):
        parts = next((count for suffix, count in FUSED_PARTS.items() if name.endswith(suffix)), 1)
        empty = {"name": f"muon_{parts}", "muon": True, "chunks": parts, "lr": lr, "params": [], "param_names": []}
        target = split.setdefault(parts, {**group, **empty})
        target["params"].append(parameter)
        target["param_names"].append(name)
    return list(split.values())
