"""Settings of the Trainer that would fail late, or teach nothing, are refused before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.errors import ConfigError
from mlpipe.training.parser import parse_config
from mlpipe.training.trainer_group import check_trainer

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
