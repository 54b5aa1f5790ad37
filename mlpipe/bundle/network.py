"""What a predictor runs: preprocessed rows in, logits out.

The network in torch is one; what `mlpipe.bundle.backends` finds in a bundle are others. All that comes behind it
(temperature, probabilities, the mean over members, the target's unit) is the same code for all of them, in
`mlpipe.bundle.predictor`.

Legend of the shapes: T rows, K members, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.models import TableModel

#: What comes of the logits of preprocessed rows, (T, O).
Outputs = npt.NDArray[np.float32]
#: Runs a network; on another thread, for example.
Run = Callable[[Callable[[], Outputs]], Outputs]
#: Gets to see preprocessed rows.
Observe = Callable[[Arrays], None]


def run_here(network: Callable[[], Outputs]) -> Outputs:
    """The `Run` that just calls."""
    return network()


def ignore(arrays: Arrays) -> None:
    """The `Observe` that does not look."""


class Network(Protocol):
    """Anything that gives the logits of preprocessed rows; called by one thread at a time."""

    def __call__(self, arrays: Arrays) -> Tensor:
        """Logits float32 (T, K, O) of T rows, on the CPU and without gradients; T may be 0."""


class TorchNetwork:
    """The network as it was trained, run by torch operator for operator.

    Args:
        model: On the CPU; put into evaluation mode.
    """

    def __init__(self, model: TableModel) -> None:
        self._model = model.eval()

    def __call__(self, arrays: Arrays) -> Tensor:
        """See `Network`."""
        with torch.inference_mode():
            logits: Tensor = self._model(
                torch.from_numpy(arrays.numeric),
                torch.from_numpy(arrays.missing),
                torch.from_numpy(arrays.categorical),
            )
        return logits
