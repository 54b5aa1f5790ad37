"""`OnlinePredictor`: the few rows of requests in, records out; the numbers are those of `Predictor`.

What differs from `Predictor.predict` is the way to the arrays and from the values (`mlpipe.features.rowwise`,
`TargetCodec.records`): no frames, and a row that cannot be answered is reported while the others are answered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe.arrays import Arrays
from mlpipe.bundle.averages import mean_values
from mlpipe.bundle.ensemble import OBSERVED
from mlpipe.bundle.predictor import NO_ANSWER, EnsemblePredictor, ModelPredictor, Predictor, Values
from mlpipe.errors import InputError
from mlpipe.features.known_values import Faults
from mlpipe.features.rowwise import RowEncoder


@dataclass(frozen=True)
class Answered:
    """What became of some rows.

    Attributes:
        records: One for each row, as `TargetCodec.records` has it; of no meaning for a row with a fault.
        faults: Why a row has no answer.
        arrays: What the model was given; of an ensemble the observed member, see `mlpipe.bundle.ensemble`.
        values: What was predicted, (T, O), as `Predictor.values` has it.
        preprocess_seconds: Time that making the arrays took.
        model_seconds: Time that the networks took.
    """

    records: list[dict[str, Any]]
    faults: Faults
    arrays: Arrays
    values: Values
    preprocess_seconds: float
    model_seconds: float


class OnlinePredictor:
    """Answers rows of requests. Not to be shared by threads.

    Args:
        predictor: Of the bundle.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._codec = predictor.codec
        #: Of the arrays that `Answered` has.
        self.spec = _models(predictor)[OBSERVED].preprocessor.input_spec_
        self.preprocessors = tuple(model.preprocessor for model in _models(predictor))
        self._models = tuple((model, RowEncoder(model.preprocessor)) for model in _models(predictor))

    def answer(self, rows: Sequence[Sequence[Any]]) -> Answered:
        """Answer rows.

        Args:
            rows: Of each the values of the schema's features, in the schema's order.
        """
        start = time.perf_counter()
        encoded = [encode(rows) for _, encode in self._models]
        made = time.perf_counter()
        parts = [model.array_values(arrays) for (model, _), (arrays, _) in zip(self._models, encoded, strict=True)]
        values = mean_values(parts)
        done = time.perf_counter()
        arrays, faults = encoded[OBSERVED]
        finite = np.isfinite(values).all(axis=1)
        for row in np.flatnonzero(~finite).tolist():
            faults.setdefault(row, InputError(NO_ANSWER, row=row))
        records = self._codec.records(values, self.predictor.threshold)
        return Answered(records, faults, arrays, values, made - start, done - made)


def _models(predictor: Predictor) -> list[ModelPredictor]:
    if isinstance(predictor, EnsemblePredictor):
        return [model for member in predictor.members for model in _models(member)]
    assert isinstance(predictor, ModelPredictor)  # there are two kinds
    return [predictor]
