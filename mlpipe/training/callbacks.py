"""Callbacks: what happens around the steps of a run."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities.exceptions import SIGTERMException
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


class RunInterrupted(SIGTERMException):
    """Ctrl-C or SIGTERM has ended training between two batches; `last.ckpt` is written."""


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` behind each validation, every few steps if asked to, and when the run is interrupted.

    On Ctrl-C or SIGTERM the step in hand is finished, the checkpoint written, and `RunInterrupted` raised: the resumed
    run goes on as if nothing had happened. A second Ctrl-C ends the process at once. (Lightning's own handling of
    Ctrl-C exits without a checkpoint.) What is written is whole:

    - With accumulated gradients a step takes several batches, and a checkpoint holds no gradients. One that falls
      between them, by a validation in their midst, is written at the end of the step.
    - A step that is followed by a validation is written behind that: Lightning would leave it out of the resumed run.

    It has to be the last callback, so that the others' states hold what the same validation has made of them. Its own
    is how long the run has taken up to the checkpoint, in all its sessions.

    Args:
        path: The file.
        every_steps: Optimiser steps between two checkpoints within an epoch; None: none.
    """

    def __init__(self, path: Path, every_steps: int | None = None) -> None:
        self.path = path
        self.every_steps = every_steps
        self.interrupted = False
        self._seconds_before = 0.0  # of the sessions up to the checkpoint that this one goes on from
        self._started = 0.0
        self._step_before = 0
        self._within_step = False
        self._overdue = False  # it was time to save in the midst of a step
        self._validated = False  # saved behind a validation, and nothing was trained since
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def seconds(self) -> float:
        """How long the run has taken until now."""
        return self._seconds_before + time.perf_counter() - self._started

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin to count."""
        self._started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How long the run has taken."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._seconds_before = state_dict["seconds"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over SIGINT and SIGTERM."""
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the step, to know whether this batch has ended it.

        Raises:
            RunInterrupted: A signal came before the validation behind the last step, or during it.
        """
        if self._validated and self._is_interrupted(trainer):
            raise RunInterrupted
        self._validated = False
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time to, or if a signal came.

        Raises:
            RunInterrupted: A signal came.
        """
        step = trainer.global_step
        if 0 <= trainer.max_steps <= step:
            # Lightning would leave in the middle of an epoch without a validation, and the last steps be lost.
            trainer.should_stop = True
        self._within_step = step == self._step_before
        if self._within_step or _validation_follows(trainer):
            return
        due = self._overdue or (self.every_steps is not None and step % self.every_steps == 0)
        stop = self._is_interrupted(trainer)
        if due or stop:
            self._save(trainer)
        if stop:
            raise RunInterrupted

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, unless a step is only half done: the best score so far is part of the state."""
        if self._within_step:
            self._overdue = True
        else:
            self._save(trainer)
            self._validated = True

    def give_signals_back(self) -> None:
        """Undo `on_fit_start`; to be called when the Trainer has ended, however it did.

        No hook does: when an exception ends the training, Lightning afterwards sets the handlers that it has found,
        which are ours.
        """
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._overdue = False

    def _is_interrupted(self, trainer: L.Trainer) -> bool:
        """Whether a signal came to one of the processes at least: all of them stop at the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(self.interrupted, all=False))

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        logger.warning("Stopping after this step; what was learnt so far is kept. Ctrl-C again stops at once.")


def _validation_follows(trainer: L.Trainer) -> bool:
    """Whether there is a validation behind the batch that has just ended: what the Trainer asks itself next."""
    data_fetcher = trainer.fit_loop._data_fetcher
    assert data_fetcher is not None  # it has fetched that batch
    return trainer.fit_loop.epoch_loop._should_check_val_fx(data_fetcher)


class BestCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that knows its files wherever the run's folder has been moved or copied to.

    Lightning's own forgets the best score if its folder is another now, and lets a worse epoch write over the best.
    The name is one of ours because Lightning refuses two with the same settings, and a user may add one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All of the old state, its files in the folder where they are now."""
        folder = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class EpochLog(Callback):
    """A line of the log per epoch, for where no progress bar can be shown."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's mean loss and the validation metrics."""
        values = {"train/loss": float(cast("TabularModule", pl_module).epoch_loss)}
        values |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        shown = {name: float(f"{value:.5g}") for name, value in values.items()}
        logger.info("Epoch %d of %s", trainer.current_epoch + 1, trainer.max_epochs, extra=shown)
