"""Callbacks: what happens around the steps of a run."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor, nn

from mlpipe.data.batches import Batch
from mlpipe.errors import TrainingError

if TYPE_CHECKING:
    from mlpipe.training.module import TabularModule

logger = logging.getLogger(__name__)


class ReproducibleSteps(Callback):
    """Seeds every step by (seed, step), so that dropout is the same after a resume; on each device it is another.

    Lightning's checkpoints hold no state of the random generators. With this callback none is needed: what a step
    draws depends on the run's seed and on the step's number alone.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed all generators for this batch."""
        # Counted in batches, not in optimiser steps: with gradient accumulation each batch draws anew. An odd
        # multiplier modulo 2^63 keeps neighbouring seeds' sequences apart.
        step = trainer.fit_loop.epoch_loop.total_batch_idx * trainer.world_size + trainer.global_rank
        torch.manual_seed((self.seed * 0x9E3779B97F4A7C15 + step) % 2**63)


class EMAWeights(WeightAveraging):
    """Validates, keeps and ships an exponential moving average of the weights.

    Args:
        decay: Share of the old average that a step keeps. Early on it is `(1 + n) / (10 + n)` after n steps if that
            is less, so that the average forgets the random start.
    """

    def __init__(self, decay: float) -> None:
        def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
            n = int(count)
            torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, multi_avg_fn=update)


class StopOnNonFiniteLoss(Callback):
    """Ends a run whose loss is no longer a number, and says where it happened.

    It looks before the step is taken: afterwards every weight would be NaN. Looking at the loss makes an accelerator
    wait for it; there it is looked at every `interval` batches only. Of several devices each has a loss of its own;
    all stop if one's is bad, and say what that one has found.

    Args:
        interval: Batches between two looks, on an accelerator.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._batch: Batch | None = None
        self._batch_idx = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch, for the diagnosis."""
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the loss of this batch.

        Raises:
            TrainingError: It is not finite.
        """
        if pl_module.device.type != "cpu" and (self._batch_idx + 1) % self.interval:
            return
        value = float(loss.detach())
        finite = math.isfinite(value)
        if trainer.strategy.reduce_boolean_decision(not finite, all=False):
            found = [None if finite else self._diagnosis(trainer, pl_module, value)]
            if trainer.world_size > 1:
                found = found * trainer.world_size
                torch.distributed.all_gather_object(found, found[0])
            raise TrainingError(next(sentence for sentence in found if sentence is not None))

    def _diagnosis(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: float) -> str:
        assert self._batch is not None  # no backward pass without a batch
        where = first_non_finite(pl_module.get_submodule("net"), self._batch)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        clip = "" if trainer.gradient_clip_val else ", or `trainer.gradient_clip_val: 1`,"
        return (
            f"The training loss became {loss} in epoch {trainer.current_epoch}, step {trainer.global_step}, at "
            f"learning rate {rate:.2g}: {where}. A lower `training.lr`{clip} often helps; checkpoints written before "
            "are intact."
        )


@torch.no_grad()
def first_non_finite(net: nn.Module, batch: Batch) -> str:
    """Where NaN or infinity first shows: in the batch, in the weights, or in the output of a layer."""
    for name, values in zip(Batch._fields, batch, strict=True):
        if values is not None and values.is_floating_point() and not bool(torch.isfinite(values).all()):
            return f"the batch's {name} values are not finite"
    bad = [name for name, p in net.named_parameters() if not bool(torch.isfinite(p).all())]
    if bad:
        return f"the weights {bad[0]!r} are not finite" + (f" (and {len(bad) - 1} others)" if len(bad) > 1 else "")
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in net.named_modules() if name]
    try:
        net(batch.numeric, batch.missing, batch.categorical)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of layer {found[0]!r} is the first that is not finite" if found else "the loss alone overflowed"


class EpochLog(Callback):
    """A line of the log per epoch, for where no progress bar can be shown."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's mean loss and the validation metrics."""
        values = {"train/loss": float(cast("TabularModule", pl_module).epoch_loss)}
        values |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        shown = {name: float(f"{value:.5g}") for name, value in values.items()}
        logger.info("Epoch %d of %s", trainer.current_epoch + 1, trainer.max_epochs, extra=shown)
