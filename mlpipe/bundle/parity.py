"""How near the answers of one backend are to those of torch, and how near they have to be.

Answers are what `mlpipe.bundle.predictor.ModelPredictor.predict_arrays` gives: probabilities, or for regression numbers
in standard deviations of the target.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.bundle.network import Network
from mlpipe.models.heads import member_average
from mlpipe.schema import InputSpec, TaskKind

#: The largest difference of an answer, by backend; `torch`: folded. Another order of the same float32 operations gives
#: about 1e-6; weights and activations of 8 bits some thousandths, and for single rows hundredths.
TOLERANCES = {"torch": 1e-4, "onnx": 1e-4, "int8": 0.05}
#: By how much of its value the run's metric may become worse.
METRIC_TOLERANCE = 0.01

_BATCH = 4096
_MISSING = 0.1


def run_network(network: Network, arrays: Arrays) -> Tensor:
    """The logits (T, K, O) of any number of rows, in batches as `mlpipe predict` has them."""
    parts = [network(arrays.take(slice(start, start + _BATCH))) for start in range(0, max(len(arrays), 1), _BATCH)]
    return torch.cat(parts)


def differences(logits: Tensor, others: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """By how much the answers (T, O) differ that two networks' logits lead to; NaN where one of them is not finite.

    Args:
        logits: (T, K, O).
        others: (T, K, O).
        kind, temperature: What makes answers of logits.
    """
    return (member_average(logits, kind, temperature) - member_average(others, kind, temperature)).abs()


def made_up_rows(spec: InputSpec, count: int) -> Arrays:
    """Rows as preprocessing gives them, the same each time: standardised numbers, some missing, and any category."""
    random = np.random.default_rng(0)
    numeric = random.standard_normal((count, len(spec.numeric)), dtype=np.float32)
    missing = random.random(numeric.shape) < _MISSING
    categorical = np.empty((count, len(spec.categorical)), np.int32)
    for column, feature in enumerate(spec.categorical):
        categorical[:, column] = random.integers(1, feature.cardinality, count)
    return Arrays(np.where(missing, np.float32(0), numeric), missing, categorical)
