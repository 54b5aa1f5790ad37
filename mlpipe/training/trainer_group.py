"""The `trainer` group: settings that Lightning takes without a word and that cannot train, refused in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L

from mlpipe.errors import ConfigError, did_you_mean

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


@contextmanager
def trainer_errors(*kinds: type[Exception]) -> Iterator[None]:
    """What Lightning says of settings that do not fit together, or not this machine, is a mistake in the config."""
    try:
        yield
    except kinds as error:
        sentence = " ".join(str(error).split("\n")[0].split())
        raise ConfigError(f"`trainer`: {sentence}") from error
