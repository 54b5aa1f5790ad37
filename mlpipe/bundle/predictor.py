"""`Predictor`: raw rows in, predictions out. Batch scoring, cross-validation and the server all run this code.

    predictor = Predictor.load("runs/census/first/bundle")
    predictor.predict({"age": 39, "education": "Bachelors"})
    predictor.predict_file("people.parquet", "predictions.csv")

There are two kinds, for the two kinds of bundle: one model, and an ensemble of several. They differ in how raw rows
become values (probabilities, or numbers in the target's unit); what is made of these is the same.

Neither Lightning nor MLflow is imported; a bundle, Polars and torch are enough.

Legend of the shapes: T rows, F numeric features, C categorical features, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from mlpipe.arrays import Arrays
from mlpipe.bundle.averages import mean_threshold, mean_values
from mlpipe.bundle.backends import Backend, open_backend
from mlpipe.bundle.ensemble import OBSERVED, Contents, EnsembleContents, read_contents
from mlpipe.bundle.network import Network, Observe, Outputs, Run, TorchNetwork, ignore, run_here
from mlpipe.errors import InputError
from mlpipe.features.calibration import EVEN, Calibration
from mlpipe.features.frame import as_frame
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.features.target import TargetCodec
from mlpipe.models import TableModel
from mlpipe.models.heads import member_average
from mlpipe.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

    from mlpipe.data.options import ReadOptions

    #: What `Predictor.predict` takes.
    Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]] | pl.DataFrame | pl.LazyFrame | pd.DataFrame

#: Why a row's answer is not given.
NO_ANSWER = "the model has no finite answer; the values are out of range"

#: What a predictor gives for raw rows, (T, O): probabilities, or numbers in the target's unit.
Values = npt.NDArray[np.floating[Any]]


class Predictor(ABC):
    """What predicts raw rows.

    Args:
        schema: The raw table and the task.
        statistics: What a `DriftMeter` compares new rows with.
        version: The bundle's version; empty for a model that is in no bundle yet.
        read: The options that the training file was read with, as a dict; None: the defaults.
        threshold: Binary: the answer is the second class where its probability is above this.
        level: Regression with an interval: the share of rows whose target it is to hold.

    Attributes:
        backend: What runs the networks, and why.
    """

    backend = Backend("torch", ())

    def __init__(
        self,
        schema: Schema,
        statistics: Statistics,
        version: str = "",
        read: Mapping[str, Any] | None = None,
        *,
        threshold: float = EVEN,
        level: float | None = None,
    ) -> None:
        self.schema = schema
        self.version = version
        self.read = read
        self.threshold = threshold
        self.level = level
        self.statistics = statistics
        self.codec = TargetCodec(schema.task)

    @staticmethod
    def load(bundle: str | Path, backend: str = "torch") -> Predictor:
        """The predictor of a bundle in a folder.

        Args:
            bundle: The folder.
            backend: What is to run its networks; see `mlpipe.bundle.backends`.

        Raises:
            BundleError: Names the file of the bundle that is wrong and says why.
        """
        return Predictor.of(read_contents(bundle), backend)

    @staticmethod
    def of(contents: Contents, backend: str = "torch") -> Predictor:
        """The predictor of a bundle that was read; see `load`."""
        models = contents.members if isinstance(contents, EnsembleContents) else (contents,)
        opened = open_backend(models, backend)
        predictors = [
            ModelPredictor(
                schema=model.schema,
                preprocessor=model.preprocessor,
                model=model.model,
                calibration=model.calibration,
                statistics=model.statistics,
                version=model.version,
                read=model.manifest.read,
                network=network,
            )
            for model, network in zip(models, opened.networks, strict=True)
        ]
        predictor: Predictor = predictors[0]
        if isinstance(contents, EnsembleContents):
            predictor = EnsemblePredictor(predictors, contents.statistics, contents.version, contents.manifest.read)
        predictor.backend = opened
        return predictor

    @abstractmethod
    def values(self, frame: pl.DataFrame, run: Run = run_here, observe: Observe = ignore) -> Values:
        """What is predicted for raw rows, as numbers.

        Args:
            frame: Raw rows with all features.
            run: Runs each network; what is not torch is done by the caller's thread.
            observe: Gets to see the rows as `statistics` describes them.

        Returns:
            (T, O): probabilities, calibrated, for classification; numbers in the target's unit for regression, with the
            lower and the upper bound of an interval behind them if there is one. NaN where there is no finite answer.

        Raises:
            InputError: A feature is missing, or a value does not fit its column.
        """

    def predict(self, rows: Rows, *, batch_size: int = 4096) -> pl.DataFrame:
        """Predict raw rows.

        Args:
            rows: A row as a dict, a list of them, or a Polars or pandas frame. What is no feature is ignored.
            batch_size: Rows that are worked on at once; bounds memory and changes nothing else.

        Returns:
            One row for each, in order. Binary and multiclass: `prediction`, `probability_<class>` and `confidence`,
            the probability of the prediction; multilabel: `prediction`, a list of names, and `probability_<name>`;
            regression: `prediction`, in the target's own unit, and with an interval `lower` and `upper`.

        Raises:
            InputError: Names the field and the row that does not fit the schema.
        """
        return self.predict_with(run_here, rows, batch_size)

    def predict_with(self, run: Run, rows: Rows, batch_size: int) -> pl.DataFrame:
        """`predict` with another way to run the networks; see `values`."""
        frame = as_frame(rows, self.schema)
        parts = []
        for start in range(0, max(frame.height, 1), batch_size):
            values_TO = self.values(frame.slice(start, batch_size), run)
            finite = np.isfinite(values_TO).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise InputError(NO_ANSWER, row=row)
            parts.append(self.codec.answers(values_TO, self.threshold))
        return pl.concat(parts)

    def predict_file(
        self,
        data: str | Path,
        out: str | Path,
        read: ReadOptions | None = None,
        *,
        batch_size: int = 4096,
        overwrite: bool = False,
    ) -> int:
        """Predict every row of a file, in order, in memory that does not grow with the file.

        Args:
            data: Anything `mlpipe.data.read.scan` reads.
            out: `.parquet`, `.csv`, `.ndjson`, `.jsonl`, `.arrow` or `.ipc`; appears once it is complete.
            read: How to read `data`; None: as the training file was read.
            batch_size: Rows that are worked on at once.
            overwrite: Replace `out` if it exists.

        Returns:
            The number of rows written: the identifier columns that the file has, then those of `predict`.

        Raises:
            ConfigError: `out` has another ending, exists, or is the input file.
            DataError: A feature's column is missing.
            InputError: A value does not fit its column.
        """
        from mlpipe.bundle.scoring import score_file

        return score_file(self, data, Path(out), read, batch_size, overwrite=overwrite)


class ModelPredictor(Predictor):
    """One fitted model.

    Args:
        schema: As in `Predictor`.
        preprocessor: From raw rows to arrays, and from the model's outputs to the target's unit.
        model: The network, on the CPU; put into evaluation mode.
        statistics, version, read: As in `Predictor`.
        calibration: What makes answers of the network's outputs.
        network: What runs the model; None: torch.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        preprocessor: Preprocessor,
        model: TableModel,
        statistics: Statistics,
        calibration: Calibration | None = None,
        version: str = "",
        read: Mapping[str, Any] | None = None,
        network: Network | None = None,
    ) -> None:
        self.calibration = calibration or Calibration()
        threshold, level = self.calibration.threshold, self.calibration.level
        super().__init__(schema, statistics, version, read, threshold=threshold, level=level)
        self.preprocessor = preprocessor
        self.model = model.eval()
        self.network = network or TorchNetwork(model)

    def values(self, frame: pl.DataFrame, run: Run = run_here, observe: Observe = ignore) -> Values:
        """See `Predictor.values`."""
        arrays = self.preprocessor.transform(frame)
        observe(arrays)
        return self.array_values(arrays, run)

    def array_values(self, arrays: Arrays, run: Run = run_here) -> Values:
        """`values` of rows that are arrays already."""
        outputs_TO = run(partial(self.predict_arrays, arrays))
        if self.schema.task.is_classification:
            return outputs_TO
        # An infinite output must not become a large number in the target's unit.
        finite_TO = np.where(np.isfinite(outputs_TO), outputs_TO, np.float32(np.nan))
        return self.preprocessor.target_.values(finite_TO, self.calibration.interval)

    def predict_arrays(self, arrays: Arrays, *, batch_size: int = 4096) -> Outputs:
        """The model's outputs for preprocessed rows.

        Returns:
            float32 (T, O): probabilities, calibrated, for classification; standardised values for regression, or
            quantiles, in ascending order.
        """
        kind, temperature = self.schema.task.kind, self.calibration.temperature
        outputs = [np.empty((0, self.model.spec.num_outputs), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(arrays), batch_size):
                logits_BKO = self.network(arrays.take(slice(start, start + batch_size)))
                outputs.append(member_average(logits_BKO, kind, temperature).numpy())
        return np.concatenate(outputs)


class EnsemblePredictor(Predictor):
    """Several predictors of one table and task, whose values are averaged.

    By Jensen's inequality the log-loss (of probabilities) and the squared error (of numbers) of the mean are at most
    the mean of the members'. The threshold is the mean of theirs, and so are the bounds of an interval.

    Args:
        members: At least one; the schema is the first one's.
        statistics: Of the whole, in the features of the observed member; see `mlpipe.bundle.ensemble`.
        version, read: As in `Predictor`.
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        statistics: Statistics,
        version: str = "",
        read: Mapping[str, Any] | None = None,
    ) -> None:
        first, threshold = members[0], mean_threshold(member.threshold for member in members)
        super().__init__(first.schema, statistics, version, read, threshold=threshold, level=first.level)
        self.members = tuple(members)

    def values(self, frame: pl.DataFrame, run: Run = run_here, observe: Observe = ignore) -> Values:
        """The mean of the members' values, in their type; see `Predictor.values`."""
        observers: list[Observe] = [ignore] * len(self.members)
        observers[OBSERVED] = observe
        return mean_values([one.values(frame, run, look) for one, look in zip(self.members, observers, strict=True)])
