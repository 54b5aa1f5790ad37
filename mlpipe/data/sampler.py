"""The order of the rows, as a pure function of (seed, epoch).

Nothing else decides it: no worker, no position of a random generator. A run that is killed and resumed therefore
sees each batch exactly as the uninterrupted run would have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class EpochOrder:
    """A permutation of `num_rows` rows for each epoch.

    Lightning calls `set_epoch` on whatever a loader has as its `sampler`.

    Args:
        num_rows: How many rows there are.
        shuffle: False: the rows in file order, in every epoch.
        seed: The run's seed.

    Examples:
        >>> order = EpochOrder(5, shuffle=True, seed=0)
        >>> first = order.indices()
        >>> order.set_epoch(1)
        >>> bool((order.indices() == first).all())
        False
        >>> order.set_epoch(0)
        >>> bool((order.indices() == first).all())
        True
    """

    def __init__(self, num_rows: int, *, shuffle: bool, seed: int = 0) -> None:
        self.num_rows = num_rows
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation that `indices` gives."""
        self.epoch = epoch

    def indices(self) -> npt.NDArray[np.int64]:
        """Row positions, int64 (num_rows,)."""
        if not self.shuffle:
            return np.arange(self.num_rows, dtype=np.int64)
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)

    def __len__(self) -> int:
        return self.num_rows
