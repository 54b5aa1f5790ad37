"""`Arrays`: what preprocessing hands to the model, as plain NumPy.

Legend of the shapes: T rows, F numeric features, C categorical features, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Arrays:
    """The columnar form of a preprocessed table.

    Attributes:
        numeric: float32 (T, F), finite; 0 where `missing`.
        missing: bool (T, F); the raw value was null, NaN or infinite.
        categorical: int32 (T, C); 0 padding, 1 null, 2 unseen, 3… the vocabulary in its fixed order.
        target: int64 (T,) class ids for binary and multiclass, float32 (T, O) of 0 and 1 for multilabel, float32
            (T,) in standardised units for regression; None for rows to be predicted.
        weight: float32 (T,) sample weights; None if all are equal.
    """

    numeric: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]
    categorical: npt.NDArray[np.int32]
    target: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None = None
    weight: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = len(self.numeric)
        for name in ("missing", "categorical", "target", "weight"):
            values = getattr(self, name)
            if values is not None and len(values) != rows:
                raise ValueError(f"Arrays.{name} has {len(values)} rows, Arrays.numeric has {rows}.")

    def __len__(self) -> int:
        return len(self.numeric)

    def take(self, index: npt.NDArray[np.int64] | slice) -> Arrays:
        """The rows at `index`, in its order."""
        return Arrays(
            self.numeric[index],
            self.missing[index],
            self.categorical[index],
            None if self.target is None else self.target[index],
            None if self.weight is None else self.weight[index],
        )
