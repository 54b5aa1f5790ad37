"""Categories as numbers for the metric of `NeighborTargets`: the mean targets of the training rows that have them.

A rare category's mean over all rows is its row's own target, and likeness in it would be likeness in the answer. So
a training row gets the mean over the rows of the other folds; only new rows get that over all.

Legend: T rows, C categorical features, G folds, I ids of a feature, K columns of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlpipe.arrays import Arrays
from mlpipe.features.neighbors import Floats, Rows
from mlpipe.schema import FIRST_CATEGORY_ID

#: Numbers and encoded categories are cut off here.
LARGEST = 4.0
#: Categories are encoded by the means of at most so many columns of the target, those that vary most.
MOST_MEANS = 4


class CategoryMeans:
    """Counts and sums of the target by fold and id, from which folds can be left out.

    Args:
        arrays: The training rows.
        cardinalities: Of the categorical features.
        columns: (T, O) the centred target.
        smoothing: Rows of the overall mean mixed into each category's.
        fold: (T,) of each row, from 0.
    """

    def __init__(
        self, arrays: Arrays, cardinalities: Sequence[int], columns: Floats, smoothing: float, fold: Rows
    ) -> None:
        self.arrays = arrays
        self.fold = fold
        self._smoothing = max(smoothing, 1.0)
        self._counts_GI = [
            _by_fold(fold, ids, size) for ids, size in zip(arrays.categorical.T, cardinalities, strict=True)
        ]
        varied = np.argsort(-columns.var(axis=0), kind="stable")[:MOST_MEANS]
        self._sums_GIK = [
            np.stack([_by_fold(fold, ids, size, columns[:, v]) for v in varied], axis=-1)
            for ids, size in zip(arrays.categorical.T, cardinalities, strict=True)
        ]
        # One scale for all folds: the standard deviation over all rows. A column in which the means do not differ is 0.
        self._scales = [np.ones(len(varied))] * len(cardinalities)
        spreads = [table[ids].std(axis=0) for ids, table in zip(arrays.categorical.T, self.tables(), strict=True)]
        self._scales = [np.divide(1, spread, out=np.zeros(len(varied)), where=spread > 1e-9) for spread in spreads]

    def tables(self, *left_out: int) -> list[Floats]:
        """For each feature, (I, K): the means by id over the rows of all folds but those left out, 0 without rows."""
        kept = np.delete(np.arange(self.fold.max() + 1), left_out)
        tables = []
        for counts_GI, sums_GIK, scale in zip(self._counts_GI, self._sums_GIK, self._scales, strict=True):
            means_IK = sums_GIK[kept].sum(axis=0) / (counts_GI[kept].sum(axis=0)[:, None] + self._smoothing)
            tables.append((means_IK * scale).astype(np.float32))
        return tables

    def out_of_fold(self, rows: Rows, *left_out: int) -> Floats:
        """The training rows at `rows`, each by the means over the other folds, also without those left out, (., F)."""
        fold = self.fold[rows]
        parts = {number: np.flatnonzero(fold == number) for number in np.unique(fold).tolist()}
        made = [
            design(self.arrays.take(rows[part]), self.tables(*{number, *left_out})) for number, part in parts.items()
        ]
        return np.concatenate(made)[np.argsort(np.concatenate(list(parts.values())))]


def design(arrays: Arrays, tables: Sequence[Floats]) -> Floats:
    """Numbers and encoded categories side by side, (T, F); an id that a table lacks counts as never seen."""
    encoded = []
    for ids, table in zip(arrays.categorical.T, tables, strict=True):
        encoded.append(table[np.where(ids < len(table), ids, FIRST_CATEGORY_ID - 1)])
    return np.concatenate((arrays.numeric, *encoded), axis=1).clip(-LARGEST, LARGEST)


def _by_fold(
    fold: Rows, ids: npt.NDArray[np.int32], size: int, weights: Floats | None = None
) -> npt.NDArray[np.float64]:
    """Rows, or sums of their weights, (G, I)."""
    folds = int(fold.max()) + 1
    sums = np.bincount(fold * size + ids, weights=weights, minlength=folds * size)
    return sums.reshape(folds, size).astype(np.float64)
