"""Whole batches by index, from tensors that already lie on the device.

A `DataLoader` collates a batch from single rows and wants workers to hide what that costs. A table that fits into
memory needs neither: one `index_select` per tensor makes the batch (the same idea as in the loaders of TabM and
RealMLP).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.data.sampler import EpochOrder


class Batch(NamedTuple):
    """Some rows as tensors; B rows, F numeric and C categorical features.

    Attributes:
        numeric: float32 (B, F).
        missing: bool (B, F).
        categorical: int32 (B, C).
        target: As in `Arrays.target`; None for rows to be predicted.
        weight: float32 (B,) or None.
    """

    numeric: Tensor
    missing: Tensor
    categorical: Tensor
    target: Tensor | None = None
    weight: Tensor | None = None


class TensorBatches:
    """Iterates over a table in batches; an epoch's order comes from `sampler`.

    It keeps the position within the epoch in `state_dict`, which Lightning stores in its checkpoints, so that a run
    resumed in the middle of an epoch goes on with the batch that would have come next.

    Args:
        arrays: The table.
        batch_size: Rows per batch, in all processes together.
        shuffle: A new order in each epoch; the last, smaller batch is then left out (its rows come elsewhere in the
            next epoch), unless there is only that one.
        seed: The run's seed.
        device: Where the tensors are put, once.
        rank: Which of several processes this is. They have the same order of rows and take the same steps; of each
            batch, process r has every `world_size`-th row from the r-th on.
        world_size: How many processes there are.
    """

    #: Lightning asks every loader that has a `sampler` for this too.
    batch_sampler = None

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.sampler = EpochOrder(len(arrays), shuffle=shuffle, seed=seed)
        self.table = Batch(
            *(
                None if values is None else torch.from_numpy(values).to(device)
                for values in (arrays.numeric, arrays.missing, arrays.categorical, arrays.target, arrays.weight)
            )  # type: ignore[arg-type]  # the first three are never None
        )
        self._share = slice(rank, None, world_size)
        self._cursor = 0

    def __len__(self) -> int:
        full, rest = divmod(self.sampler.num_rows, self.batch_size)
        drop_last = self.sampler.shuffle and full > 0
        return full + (rest > 0 and not drop_last)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.from_numpy(self.sampler.indices()).to(self.table.numeric.device)
        start, self._cursor = self._cursor, 0
        for step in range(start, len(self)):
            index = order[step * self.batch_size : (step + 1) * self.batch_size][self._share]
            # The cursor counts this batch as done: a checkpoint taken after its step must go on with the next one.
            self._cursor = (step + 1) % len(self)
            yield Batch(*(None if values is None else values.index_select(0, index) for values in self.table))  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """The position within the epoch."""
        return {"cursor": self._cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at the stored position when next iterated."""
        self._cursor = int(state["cursor"])
