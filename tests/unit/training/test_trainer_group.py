"""Settings of the Trainer that would fail late, or teach nothing, are refused before anything is read."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint

from mlpipe.errors import ConfigError, TrainingError
from mlpipe.schema import TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.parser import parse_config
from mlpipe.training.trainer_group import check_monitors, check_trainer, given_callbacks, trainer_errors

WRONG = [
    ("precision", "bf16-true", "say 32-true, bf16-mixed or 16-mixed"),
    ("precision", "64", "say 32-true, bf16-mixed or 16-mixed"),
    ("precision", "transformer-engine", "say 32-true, bf16-mixed or 16-mixed"),
    ("gradient_clip_val", -1.0, "which would turn gradients round"),
    ("gradient_clip_val", float("nan"), "has to be above 0, or 0 for no clipping"),
    ("accumulate_grad_batches", 0, "has to be at least 1"),
    ("max_steps", 0, "nothing would be learnt"),
    ("limit_train_batches", 0, "nothing would be learnt"),
    ("limit_val_batches", 0, "no epoch would be measured"),
]


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG)
def test_what_cannot_train_is_refused_by_name(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^`trainer.{key}` is {value}.*{sentence}"):
        check_trainer({key: value})


def test_a_key_that_does_not_exist_is_named_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"`trainer\.max_epoch` .* Did you mean 'max_epochs'\?"):
        check_trainer({"max_epoch": 3})


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"precision": "bf16-mixed", "gradient_clip_val": 0, "accumulate_grad_batches": 4, "max_steps": -1},
        {"precision": 32, "gradient_clip_val": None, "limit_train_batches": 0.5, "limit_val_batches": 1},
    ],
)
def test_the_others_pass(trainer: dict[str, Any]) -> None:
    check_trainer(trainer)


def test_the_config_is_refused_before_a_table_is_read() -> None:
    with pytest.raises(ConfigError, match=r"`trainer\.precision` is 64-true"):
        parse_config(["--data.path", "nowhere.csv", "--data.target", "y", "--trainer.precision", "64-true"])


CLASSES = "train/loss, val/accuracy, val/balanced_accuracy, val/auroc, val/average_precision, val/f1, val/log_loss, "
QUANTILES = TrainingConfig(loss="quantile", interval=0.9)


@pytest.mark.parametrize(
    ("callback", "kind", "training", "sentence"),
    [
        (EarlyStopping("val_loss"), TaskKind.BINARY, None, f"EarlyStopping monitors 'val_loss', .* logs {CLASSES}"),
        (ModelCheckpoint(monitor="val/rmse"), TaskKind.MULTICLASS, None, "ModelCheckpoint monitors 'val/rmse', which"),
        (EarlyStopping("epoch"), TaskKind.BINARY, None, "monitors 'epoch'"),
        (EarlyStopping("val/pinball"), TaskKind.REGRESSION, None, r"logs train/loss, val/rmse, val/mae, val/r2\.$"),
        (EarlyStopping("val/auroc"), TaskKind.REGRESSION, QUANTILES, "val/pinball, val/r2, val/coverage, val/interval"),
    ],
)
def test_a_callback_that_waits_for_what_is_not_logged_is_refused(
    callback: Callback, kind: TaskKind, training: TrainingConfig | None, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=f"^`trainer.callbacks`: .*{sentence}"):
        check_monitors({"callbacks": [callback]}, training or TrainingConfig(), kind)


class LogsItsOwn(Callback):
    """A user's: what it logs is not known before it does."""


@pytest.mark.parametrize(
    "callbacks",
    [
        None,
        [EarlyStopping("val/log_loss"), ModelCheckpoint(monitor="val/f1"), ModelCheckpoint(monitor="step")],
        [ModelCheckpoint(), EarlyStopping("train/loss"), EarlyStopping("val/los", strict=False)],
        [LearningRateMonitor(), EarlyStopping("lr-AdamW")],
        [LogsItsOwn(), EarlyStopping("own")],
        EarlyStopping("val/auroc"),
    ],
)
def test_what_may_be_logged_passes(callbacks: Any) -> None:
    check_monitors({"callbacks": callbacks}, TrainingConfig(), TaskKind.BINARY)


def test_the_trainer_takes_one_callback_or_several() -> None:
    callback = LogsItsOwn()
    assert given_callbacks({"callbacks": callback}) == given_callbacks({"callbacks": (callback,)}) == [callback]
    assert given_callbacks({}) == given_callbacks({"callbacks": None}) == []


def test_a_config_that_names_its_task_is_refused_before_a_table_is_read() -> None:
    words = ["--data.path", "nowhere.csv", "--data.target", "y", "--data.task", "regression"]
    callback = "--trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: val/loss}}"
    with pytest.raises(ConfigError, match="EarlyStopping monitors 'val/loss', which this run does not log"):
        parse_config([*words, callback])


def test_errors_that_are_no_word_on_callbacks_stay_as_they_are() -> None:
    for error in (TrainingError("no number"), RuntimeError("out of memory")):
        with pytest.raises(type(error), match=str(error)), trainer_errors(ValueError):
            raise error
