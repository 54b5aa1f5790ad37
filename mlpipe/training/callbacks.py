"""Callbacks: what happens around the steps of a run."""

from __future__ import annotations

import logging
import math
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from torch import Tensor, nn

from mlpipe.data.batches import Batch
from mlpipe.errors import TrainingError

if TYPE_CHECKING:
    from mlpipe.training.module import TabularModule

logger = logging.getLogger(__name__)


class ReproducibleSteps(Callback):
    """Seeds every step by (seed, step), so that dropout is the same after a resume.

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
        step = trainer.fit_loop.epoch_loop.total_batch_idx
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

    Looking at the loss makes an accelerator wait for it; there it is looked at every `interval` batches only.

    Args:
        interval: Batches between two looks, on an accelerator.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss of this batch.

        Raises:
            TrainingError: It is not finite.
        """
        if pl_module.device.type != "cpu" and (batch_idx + 1) % self.interval:
            return
        loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
        if not math.isfinite(loss):
            where = first_non_finite(pl_module.get_submodule("net"), batch)
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise TrainingError(
                f"The training loss became {loss} in epoch {trainer.current_epoch}, step {trainer.global_step}, at "
                f"learning rate {rate:.2g}: {where}. A lower `training.lr`, or `trainer.gradient_clip_val: 1`, often "
                "helps; the checkpoints written before are intact."
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


class GracefulInterrupt(Callback):
    """Ctrl-C (and SIGTERM) ends training after the batch in hand; a second Ctrl-C ends it at once.

    Lightning's own handling exits the process; here the run goes on to write its checkpoint, evaluate the best weights
    so far and export them.

    Attributes:
        interrupted: Whether a signal came.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: dict[signal.Signals, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over SIGINT and SIGTERM."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may set handlers

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            trainer.should_stop = True
            logger.warning("Stopping after this batch; the best weights so far are kept. Again Ctrl-C: stop at once.")

        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, handle)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}


class Patience(EarlyStopping):
    """Early stopping whose patience is the config's, also after a resume.

    Lightning's own takes the patience of the interrupted run out of the checkpoint, whatever the config says now.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All of the old state but the patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class EpochLog(Callback):
    """A line of the log per epoch, for where no progress bar can be shown."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's mean loss and the validation metrics."""
        values = {"train/loss": float(cast("TabularModule", pl_module).epoch_loss)}
        values |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        shown = {name: float(f"{value:.5g}") for name, value in values.items()}
        logger.info("Epoch %d of %s", trainer.current_epoch + 1, trainer.max_epochs, extra=shown)
