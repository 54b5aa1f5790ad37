"""Early stopping, and that a run which it has ended stays ended when it is resumed."""

from __future__ import annotations

import logging

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

logger = logging.getLogger(__name__)


class Patience(EarlyStopping):
    """An `EarlyStopping` by another name: Lightning refuses two with the same settings, and a user may add one."""


class StaysStopped(Callback):
    """Ends a resumed run that early stopping had ended before another step; the patience is that of the config now.

    Lightning itself would train on until the metric is watched again, and it takes the patience of the run before out
    of the checkpoint, whatever the config says. With more epochs the run would have stopped at the same place; with
    more patience it goes on.
    """

    def __init__(self) -> None:
        self._patience: list[tuple[EarlyStopping, int]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember what the config says, before a checkpoint is loaded."""
        self._patience = [(callback, callback.patience) for callback in trainer.early_stopping_callbacks]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, if one of them had."""
        for callback, patience in self._patience:
            callback.patience = patience
            if _has_stopped(callback):
                logger.warning(
                    "Early stopping had ended this run by %s; with more patience it would go on.", callback.monitor
                )
                trainer.should_stop = True


def _has_stopped(callback: EarlyStopping) -> bool:
    """Whether early stopping has found a reason to stop that is one by its present patience too."""
    if callback.stopping_reason in (EarlyStoppingReason.NOT_STOPPED, EarlyStoppingReason.PATIENCE_EXHAUSTED):
        return callback.wait_count >= max(1, callback.patience)
    return True
