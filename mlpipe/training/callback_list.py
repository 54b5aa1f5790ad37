"""The callbacks of a run, in the order in which they have to stand: those of its recipe, and the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from mlpipe.training.callbacks import (
    EMAWeights,
    ReproducibleSteps,
    StopOnNonFiniteLoss,
)
from mlpipe.training.checkpoints import BestCheckpoint, LastCheckpoint
from mlpipe.training.config import TrainingConfig
from mlpipe.training.metrics import HIGHER_IS_BETTER
from mlpipe.training.module import TabularModule
from mlpipe.training.stopping import Patience, StaysStopped


def run_callbacks(
    module: TabularModule, training: TrainingConfig, checkpoints: Path, seed: int, given: Sequence[Callback] = ()
) -> list[Callback]:
    """The callbacks that a recipe stands for, with those given on top of them.

    Args:
        module: Knows which metric is watched.
        training: The recipe.
        checkpoints: Folder for `best.ckpt` and `last.ckpt`.
        seed: The run's.
        given: The user's. Those that watch a metric of the validation rows are told to do so behind each validation,
            unless they say otherwise.
    """
    metric = module.objective.metric
    monitor, mode = f"val/{metric}", "max" if HIGHER_IS_BETTER[metric] else "min"
    callbacks: list[Callback] = [ReproducibleSteps(seed), StopOnNonFiniteLoss()]
    if training.ema_decay > 0:
        callbacks.append(EMAWeights(training.ema_decay))
    if training.patience > 0:
        callbacks.append(Patience(monitor=monitor, mode=mode, patience=training.patience))
    callbacks.append(
        BestCheckpoint(
            checkpoints,
            "best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
    )
    callbacks += given
    for callback in callbacks:
        _look_behind_validations(callback)
    return [*callbacks, StaysStopped(), LastCheckpoint(checkpoints / "last.ckpt", training.checkpoint_every_steps)]


def _look_behind_validations(callback: Callback) -> None:
    """Have a callback look at its metric behind the validation that it is of, and not at the end of the epoch.

    `last.ckpt` is written in between: it would lack what the callback has seen at the end of the epoch, and a run that
    is resumed from it has had no validation yet.
    """
    if isinstance(callback, EarlyStopping) and callback.monitor.startswith("val/"):
        callback._check_on_train_epoch_end = callback._check_on_train_epoch_end or False
    if isinstance(callback, ModelCheckpoint) and (callback.monitor or "").startswith("val/"):
        callback._save_on_train_epoch_end = callback._save_on_train_epoch_end or False
