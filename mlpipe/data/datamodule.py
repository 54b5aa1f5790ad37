"""The LightningDataModule: a table, its preprocessing, and loaders over tensors on the device."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.data.batches import TensorBatches
from mlpipe.data.config import default_batch_size
from mlpipe.data.load import PARTS, Part
from mlpipe.errors import ConfigError, DataError, how_many
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import InputSpec, Schema

logger = logging.getLogger(__name__)


class TabularDataModule(L.LightningDataModule):
    """Fits the preprocessing on the training rows and serves all parts as batches.

    Everything that follows from the data (the schema, the model's input spec) is there after `setup`, which does its
    work once and may be called before the Trainer calls it: the model is built from `spec`.

    Args:
        schema: What the columns are.
        frames: Raw rows by part: `train`, `validation`, and `test` (may be empty).
        features: How columns are preprocessed.
        batch_size: Rows per training step, on all devices together; None: by the number of training rows.
        eval_batch_size: Rows per step when nothing is learnt.
        seed: Decides the order of the rows, together with the epoch.

    Raises:
        ConfigError: A batch would have no row.

    Shape:
        Batches are `mlpipe.data.batches.Batch`: numeric (B, F), missing (B, F), categorical (B, C), target (B,).
    """

    def __init__(
        self,
        schema: Schema,
        frames: Mapping[Part, pl.DataFrame],
        features: FeaturesConfig | None = None,
        *,
        batch_size: int | None = None,
        eval_batch_size: int = 4096,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"`batch_size` is {batch_size}; it has to be at least 1.")
        self.schema = schema
        self.frames = frames
        self.preprocessor = Preprocessor(schema, features or FeaturesConfig())
        self.batch_size = default_batch_size(len(frames["train"])) if batch_size is None else batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.arrays: dict[Part, Arrays] = {}

    def setup(self, stage: str | None = None) -> None:
        """Fit on the training rows, transform all parts; the second call does nothing.

        The weights of the training rows are scaled to 1 in the mean, those of the others are as they were given.

        Raises:
            DataError: The rows are not what they have to be, or have no weight.
        """
        if self.arrays:
            return
        arrays: dict[Part, Arrays] = {"train": self.preprocessor.fit_arrays(self.frames["train"])}
        for part in PARTS[1:]:
            arrays[part] = self.preprocessor.transform(self.frames[part], with_target=True)
        for part, values in arrays.items():
            if values.weight is not None and len(values) and not values.weight.any():
                raise DataError(f"All {how_many(len(values), f'{part} row')} have a weight of 0; none of them counts.")
        if (weight := arrays["train"].weight) is not None:
            # Once for all batches: what the loss of one counts is what its rows do (see `member_loss`).
            scaled = (weight / weight.mean(dtype=np.float64)).astype(np.float32)
            arrays["train"] = replace(arrays["train"], weight=scaled)
        self.arrays = arrays

    @property
    def spec(self) -> InputSpec:
        """What the model has to know of the data; there after `setup`."""
        return self.preprocessor.input_spec_

    def train_dataloader(self) -> TensorBatches:
        """Shuffled by (seed, epoch), and dealt out among the devices: the recipe is the same however many there are.

        Raises:
            ConfigError: There are more devices than rows in a step.
        """
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        if (rows := min(self.batch_size, len(self.arrays["train"]))) < world_size:
            raise ConfigError(
                f"{how_many(rows, 'row')} per step cannot be shared by {world_size} devices; change `data.batch_size` "
                "or `trainer.devices`."
            )
        return self._batches("train", self.batch_size, shuffle=True, rank=rank, world_size=world_size)

    def val_dataloader(self) -> TensorBatches:
        """The validation rows, in file order, on each device all of them: metrics are no means over parts."""
        return self._batches("validation", self.eval_batch_size)

    def test_dataloader(self) -> TensorBatches:
        """The test rows, in file order."""
        return self._batches("test", self.eval_batch_size)

    def _batches(self, part: Part, batch_size: int, **ways: Any) -> TensorBatches:
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device
        return TensorBatches(self.arrays[part], batch_size, seed=self.seed, device=device, **ways)
