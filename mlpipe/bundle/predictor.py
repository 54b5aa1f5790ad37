"""`Predictor`: raw rows in, predictions out. Validation, batch scoring and the server all run this code.

    predictor = Predictor.load("runs/census/first/bundle")
    predictor.predict({"age": 39, "education": "Bachelors"})
    predictor.predict_file("people.parquet", "predictions.csv")

Neither Lightning nor MLflow is imported; a bundle, Polars and torch are enough.

Legend of the shapes: T rows, F numeric features, C categorical features, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from mlpipe.arrays import Arrays
from mlpipe.bundle.format import BundleContents, read_bundle
from mlpipe.errors import InputError
from mlpipe.features.frame import as_frame
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.models.heads import member_average
from mlpipe.models.transformer import Transformer
from mlpipe.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

    from mlpipe.data.read import ReadOptions

    #: What `Predictor.predict` takes.
    Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]] | pl.DataFrame | pl.LazyFrame | pd.DataFrame

#: What `Predictor.predict_arrays` gives, (T, O).
Outputs = npt.NDArray[np.float32]


class Predictor:
    """A fitted model, ready to predict.

    Args:
        schema: The raw table and the task.
        preprocessor: From raw rows to arrays, and from the model's outputs to predictions.
        model: The network, on the CPU; put into evaluation mode.
        temperature: The logits are divided by it before they become probabilities.
        version: The bundle's version; empty for a model that is in no bundle yet.
        read: The options that the training file was read with, as a dict; None: the defaults.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        preprocessor: Preprocessor,
        model: Transformer,
        temperature: float = 1.0,
        version: str = "",
        read: Mapping[str, Any] | None = None,
    ) -> None:
        self.schema = schema
        self.preprocessor = preprocessor
        self.model = model.eval()
        self.temperature = temperature
        self.version = version
        self.read = read

    @classmethod
    def load(cls, bundle: str | Path) -> Self:
        """Read a bundle from a folder.

        Raises:
            BundleError: Names the file of the bundle that is wrong and says why.
        """
        return cls.of(read_bundle(bundle))

    @classmethod
    def of(cls, contents: BundleContents) -> Self:
        """The predictor of a bundle that was read."""
        return cls(
            schema=contents.schema,
            preprocessor=contents.preprocessor,
            model=contents.model,
            temperature=contents.temperature,
            version=contents.version,
            read=contents.manifest.read,
        )

    def predict(self, rows: Rows, *, batch_size: int = 4096) -> pl.DataFrame:
        """Predict raw rows.

        Args:
            rows: A row as a dict, a list of them, or a Polars or pandas frame. What is no feature is ignored.
            batch_size: Rows that go through the model at once; bounds memory and changes nothing else.

        Returns:
            One row for each, in order. Binary and multiclass: `prediction`, `probability_<class>` and `confidence`;
            multilabel: `prediction`, a list of names, and `probability_<name>`; regression: `prediction`, in the
            target's own unit.

        Raises:
            InputError: Names the field and the row that does not fit the schema.
        """
        return self.predict_with(self.predict_arrays, rows, batch_size)

    def predict_with(self, outputs: Callable[[Arrays], Outputs], rows: Rows, batch_size: int) -> pl.DataFrame:
        """`predict` with another way to run `predict_arrays`: on another thread, or by another engine."""
        frame = as_frame(rows, self.schema)
        parts = []
        for start in range(0, max(frame.height, 1), batch_size):
            arrays = self.preprocessor.transform(frame.slice(start, batch_size))
            outputs_TO = outputs(arrays)
            finite = np.isfinite(outputs_TO).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise InputError("The model has no finite answer for a row; its values are out of range.", row=row)
            parts.append(self.preprocessor.target_.decode(outputs_TO))
        return pl.concat(parts)

    def predict_arrays(self, arrays: Arrays, *, batch_size: int = 4096) -> Outputs:
        """The model's outputs for preprocessed rows.

        Returns:
            float32 (T, O): probabilities, calibrated, for classification; standardised values for regression.
        """
        kind, temperature = self.schema.task.kind, self.temperature
        outputs = [np.empty((0, self.schema.task.num_outputs), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(arrays), batch_size):
                part = arrays.take(slice(start, start + batch_size))
                logits_BKO = self.model(
                    torch.from_numpy(part.numeric), torch.from_numpy(part.missing), torch.from_numpy(part.categorical)
                )
                outputs.append(member_average(logits_BKO, kind, temperature).numpy())
        return np.concatenate(outputs)

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
            batch_size: Rows that go through the model at once.
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
