"""What a resumed run has to have in common with the checkpoint that it goes on from."""

from __future__ import annotations

from pathlib import Path

import torch

from mlpipe.errors import ConfigError, how_many
from mlpipe.models import TransformerConfig
from mlpipe.schema import InputSpec
from mlpipe.training.config import TrainingConfig
from mlpipe.training.module import CHECKPOINT_KEY


def check_resumable(
    checkpoint: Path, model: TransformerConfig, spec: InputSpec, training: TrainingConfig, max_epochs: int
) -> None:
    """Refuse to go on with another network or optimiser than the run began with, or with a run that is complete.

    Args:
        checkpoint: The run's `last.ckpt`.
        model: The network that is wanted now, with `trunk: auto` decided.
        spec: Its input and the number of its outputs.
        training: The recipe that is wanted now.
        max_epochs: Of the Trainer.

    Raises:
        ConfigError: Names the key that differs.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    began = state[CHECKPOINT_KEY]
    if began["spec"]["num_outputs"] != spec.num_outputs:
        raise ConfigError("`training.loss` is another than the run began with; a resumed run keeps its loss.")
    for key, value in model.to_dict().items():
        if began["model"].get(key) != value:
            raise ConfigError(
                f"`model.{key}` is {value!r}, but the run began with {began['model'].get(key)!r}; "
                "a resumed run keeps its network."
            )
    if began["optimizer"] != training.optimizer:
        raise ConfigError(
            f"`training.optimizer` is {training.optimizer!r}, but the run began with {began['optimizer']!r}; a resumed "
            "run keeps its optimiser."
        )
    loop = state["loops"]["fit_loop"]
    completed, batches = loop["epoch_progress"]["current"]["completed"], loop["epoch_loop.batch_progress"]
    if 0 <= max_epochs <= completed:
        # Lightning completes an epoch behind its validation, at the end of which the checkpoint was written.
        in_full = batches["is_last_batch"] and batches["current"]["processed"] == batches["current"]["ready"]
        done = how_many(completed + in_full, "epoch")
        raise ConfigError(f"The run has done {done} already; raise `trainer.max_epochs` above that to go on.")
