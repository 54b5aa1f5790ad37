"""The `trainer` group: our defaults, and settings that Lightning takes and that cannot train, refused in a sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping

from mlpipe.checks import check_type
from mlpipe.errors import ConfigError, did_you_mean, how_many
from mlpipe.schema import TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.metrics import metrics_of

#: All weights in half or in double precision. Their average is kept in float32, which takes no others; and in half
#: precision a weight loses what small steps add to it.
UNSUITABLE_PRECISIONS = (
    *("bf16-true", "16-true", "64-true", "64", "transformer-engine", "transformer-engine-float16"),
    64,
)
#: What a run comes to if one of these is 0. Of the last, Lightning would say so after the whole training.
_ZERO = {
    "max_steps": "nothing would be learnt",
    "limit_train_batches": "nothing would be learnt",
    "limit_val_batches": "no epoch would be measured, and so none kept",
}
#: How the sentences of two RuntimeErrors begin by which Lightning refuses callbacks.
_OF_CALLBACKS = ("Early stopping conditioned on metric", "Found more than one stateful callback")


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse settings of a Trainer by which a run would fail late, learn nothing, or learn the wrong way round.

    Args:
        trainer: Arguments for `lightning.Trainer`.

    Raises:
        ConfigError: Names the key and says what would be right.
    """
    known = inspect.signature(L.Trainer).parameters
    for key in trainer:
        if key not in known:
            raise ConfigError(f"`trainer.{key}` is no setting of the Trainer.{did_you_mean(key, known)}")
        check_type(f"trainer.{key}", trainer[key], known[key].annotation)
    if (precision := trainer.get("precision")) in UNSUITABLE_PRECISIONS:
        raise ConfigError(
            f"`trainer.precision` is {precision}, in which these models do not train: weights are float32; say "
            "32-true, bf16-mixed or 16-mixed."
        )
    if (clip := trainer.get("gradient_clip_val")) is not None and not clip >= 0:
        raise ConfigError(
            f"`trainer.gradient_clip_val` is {clip}, which would turn gradients round; it has to be above 0, or 0 for "
            "no clipping."
        )
    if (accumulate := trainer.get("accumulate_grad_batches")) is not None and accumulate < 1:
        raise ConfigError(f"`trainer.accumulate_grad_batches` is {accumulate}; it has to be at least 1.")
    for key, consequence in _ZERO.items():
        if trainer.get(key) == 0:
            raise ConfigError(f"`trainer.{key}` is 0: {consequence}; leave it out, or give a number above 0.")


def given_callbacks(trainer: Mapping[str, Any]) -> list[Callback]:
    """The callbacks among the arguments of a Trainer, which takes one, several or none."""
    given = trainer.get("callbacks") or []
    return [given] if isinstance(given, Callback) else list(given)


def check_monitors(trainer: Mapping[str, Any], training: TrainingConfig, kind: TaskKind) -> None:
    """Refuse a callback that waits for a metric which a run does not log, as far as that is known beforehand.

    Callbacks that are not Lightning's may log metrics of their own; with one of those, Lightning says it when the
    metric is looked up.

    Args:
        trainer: Arguments for `lightning.Trainer`.
        training: The recipe.
        kind: The task.

    Raises:
        ConfigError: Names the callback, and the metrics that there are.
    """
    callbacks = given_callbacks(trainer)
    if not all(type(callback).__module__.startswith(("lightning.", "mlpipe.")) for callback in callbacks):
        return
    logged = ["train/loss", *(f"val/{name}" for name in validation_metrics(training, kind))]
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            known = [*logged] if callback.strict else [callback.monitor]
        elif isinstance(callback, Checkpoint):
            known = [*logged, "epoch", "step"]
        else:
            continue
        monitor = getattr(callback, "monitor", None)
        # LearningRateMonitor logs the rates of the optimiser's groups under names that begin so.
        if monitor is not None and monitor not in known and not monitor.startswith("lr-"):
            raise ConfigError(
                f"`trainer.callbacks`: {type(callback).__name__} monitors {monitor!r}, which this run does not log; it "
                f"logs {', '.join(logged)}."
            )


def validation_metrics(training: TrainingConfig, kind: TaskKind) -> list[str]:
    """The metrics that are computed behind each epoch, where the validation rows define them."""
    if training.quantiles is not None:
        return [*metrics_of(kind), "coverage", "interval_width"]
    return [name for name in metrics_of(kind) if name != "pinball"]


@contextmanager
def trainer_errors(*kinds: type[Exception]) -> Iterator[None]:
    """What Lightning says of settings that do not fit together, or not this machine, is a mistake in the config.

    Args:
        kinds: The classes of its errors that say so at this place; what it says of callbacks is known by its words.
    """
    caught: tuple[type[Exception], ...] = (*kinds, RuntimeError)
    try:
        yield
    except caught as error:
        if not isinstance(error, kinds) and not str(error).startswith(_OF_CALLBACKS):
            raise
        sentence = " ".join(str(error).split("\n")[0].split())
        raise ConfigError(f"`trainer`: {sentence}") from error


def trainer_arguments(trainer: Mapping[str, Any], rows: int, batch_size: int) -> dict[str, Any]:
    """The arguments of the `trainer` group over our defaults.

    Args:
        trainer: The group.
        rows: Training rows.
        batch_size: Of them, in a step.

    Raises:
        ConfigError: The run would end before its first validation, or an epoch before it is due.
    """
    interval = trainer.get("val_check_interval")
    given = {key: value for key, value in trainer.items() if value is not None}
    arguments = {
        "max_epochs": default_epochs(rows, batch_size),
        "gradient_clip_val": 1.0,
        "num_sanity_val_steps": 0,
        **given,
    }
    if trainer.get("check_val_every_n_epoch", 1) is None and not isinstance(interval, float | None):
        # Null has a meaning of its own there: batches (or minutes) are counted on from one epoch to the next.
        return {**arguments, "check_val_every_n_epoch": None}
    if 0 < arguments["max_epochs"] < (every := arguments.get("check_val_every_n_epoch", 1)):
        raise ConfigError(
            f"`trainer.check_val_every_n_epoch` is {every}, but the run has "
            f"{how_many(arguments['max_epochs'], 'epoch')}: none would be measured, and so none kept."
        )
    limit = arguments.get("overfit_batches") or arguments.get("limit_train_batches", 1.0)
    batches = max(1, rows // batch_size)
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if isinstance(interval, int) and interval > batches and not arguments.get("fast_dev_run"):
        raise ConfigError(
            f"`trainer.val_check_interval` is {interval}, but an epoch has {how_many(batches, 'batch', 'batches')}: "
            "say at most that, or `trainer.check_val_every_n_epoch: null` to count batches on from epoch to epoch."
        )
    return arguments


def default_epochs(num_rows: int, batch_size: int) -> int:
    """Epochs where the config names none: about 1,500 steps, within 4 and 100 epochs.

    With the shipped recipe the validation score of Adult and California peaks there; more steps learn rows by heart.

    Examples:
        >>> default_epochs(13_209, 256), default_epochs(270_000, 1024), default_epochs(500, 32)
        (29, 6, 100)
    """
    steps_per_epoch = max(1, num_rows // batch_size)
    return min(100, max(4, round(1_500 / steps_per_epoch)))
