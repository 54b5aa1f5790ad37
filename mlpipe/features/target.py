"""`TargetCodec`: labels and values of the target to arrays, and the model's outputs back to what users read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.errors import DataError, did_you_mean, how_many
from mlpipe.features.calibration import EVEN, Interval, is_yes
from mlpipe.features.categorical import vocabulary_ids
from mlpipe.features.numeric import Standardise
from mlpipe.features.typed import boolean, category, number, refuse_nested
from mlpipe.schema import FIRST_CATEGORY_ID, NULL_ID, UNSEEN_ID, Label, Task, TaskKind

Target = npt.NDArray[np.int64] | npt.NDArray[np.float32]


class TargetCodec:
    """Encodes targets for training and decodes outputs for people.

    Args:
        task: What is predicted.
        transform: `log` models log(1 + target) of a regression target.

    Examples:
        >>> codec = TargetCodec(Task(TaskKind.BINARY, ("survived",), ("no", "yes")))
        >>> codec.fit(pl.DataFrame({"survived": ["yes", "no"]})).encode(pl.DataFrame({"survived": ["yes"]}))
        array([1])
        >>> codec.decode(np.array([[0.75]], dtype=np.float32)).row(0)
        ('yes', 0.25, 0.75, 0.75)
    """

    def __init__(self, task: Task, transform: Literal["none", "log"] = "none") -> None:
        self.task = task
        self.transform = transform
        #: Regression: mean and standard deviation of the (transformed) training targets.
        self.mean, self.scale = 0.0, 1.0

    def fit(self, frame: pl.DataFrame) -> Self:
        """Take the mean and scale of a regression target from the training rows; labels are in the task already.

        Raises:
            DataError: A target of a regression is null or no number.
        """
        if self.task.kind is TaskKind.REGRESSION:
            values = self._transformed(frame, "the training rows")
            moments = Standardise().fit_numbers("", values)
            self.mean, self.scale = moments["mean"], moments["scale"]
        return self

    def encode(self, frame: pl.DataFrame, source: str = "the table") -> Target:
        """The target columns as in `Arrays.target`.

        Args:
            frame: Raw rows with the target columns.
            source: What the rows are, for error sentences.

        Raises:
            DataError: A target column is missing, a target is null, or a label is not one of the task's classes.
        """
        kind = self.task.kind
        if kind is TaskKind.REGRESSION:
            return ((self._transformed(frame, source) - self.mean) / self.scale).astype(np.float32)
        if kind is TaskKind.MULTILABEL:
            columns = [self._ids(_column(frame, name, source), (False, True), source) for name in self.task.target]
            return np.stack(columns, axis=1).astype(np.float32)
        return self._ids(_column(frame, self.task.target[0], source), self.task.classes, source)

    def decode(self, outputs: npt.NDArray[np.float32]) -> pl.DataFrame:
        """What the model's outputs mean.

        Args:
            outputs: (T, O) float32: probabilities as in `answers`; regression: (T, 1) standardised value.

        Returns:
            See `answers`.
        """
        return self.answers(outputs if self.task.is_classification else self.in_units(outputs))

    def values(
        self, outputs: npt.NDArray[np.floating[Any]], interval: Interval | None = None
    ) -> npt.NDArray[np.floating[Any]]:
        """A network's outputs as `answers` takes them, as far as they are no probabilities already.

        Args:
            outputs: (T, O) float32: probabilities; regression: (T, 1) standardised values, or (T, 3) quantiles.
            interval: Regression: how the interval is made of them.
        """
        if self.task.is_classification:
            return outputs
        return self.in_units(outputs if interval is None else interval.around(outputs))

    def answers(self, values: npt.NDArray[np.floating[Any]], threshold: float = EVEN) -> pl.DataFrame:
        """What is told of predicted values; depends on the task, and a binary task's threshold.

        Args:
            values: (T, O). Binary: (T, 1), the probability of the second class; multiclass: (T, C) and multilabel:
                (T, L) probabilities; regression: (T, 1) in units of the target, or (T, 3) with the lower and the upper
                bound of an interval.
            threshold: Binary: the answer is the second class where its probability is above this.

        Returns:
            Classification: `prediction`, a `probability_<class>` per class, and `confidence`, that of the prediction:
            the largest of them, but for a binary task whose threshold is not one half. Multilabel: `prediction` is a
            list of the names of the labels above one half, and there is a `probability_<name>` per label. Regression:
            `prediction` in units of the target, and with an interval its bounds, `lower` and `upper`.
        """
        if self.task.kind is TaskKind.REGRESSION:
            return pl.DataFrame({name: values[:, column] for column, name in enumerate(_bounds(values))})
        shares, best = self._shares(values, threshold)
        probabilities = {f"probability_{text}": shares[:, i] for i, text in enumerate(self._texts)}
        if best is None:
            prediction = pl.Series("prediction", self._chosen(shares), dtype=pl.List(pl.String))
            return pl.DataFrame({"prediction": prediction, **probabilities})
        labels = pl.Series("prediction", list(self.task.classes))
        return pl.DataFrame(
            {"prediction": labels.gather(best), **probabilities, "confidence": _confidence(shares, best)}
        )

    def records(self, values: npt.NDArray[np.floating[Any]], threshold: float = EVEN) -> list[dict[str, Any]]:
        """`answers` as one record for each row, without a frame, which a server's few rows would not be worth.

        Returns:
            Of each row `prediction` and, as the task has them, `probabilities` by the text of the class, `confidence`,
            `lower` and `upper`.
        """
        if self.task.kind is TaskKind.REGRESSION:
            return [dict(zip(_bounds(values), row, strict=True)) for row in values.tolist()]
        shares, best = self._shares(values, threshold)
        probabilities = [dict(zip(self._texts, row, strict=True)) for row in shares.tolist()]
        if best is None:
            told = zip(self._chosen(shares), probabilities, strict=True)
            return [{"prediction": chosen, "probabilities": of_all} for chosen, of_all in told]
        return [
            {"prediction": self.task.classes[index], "probabilities": of_all, "confidence": confidence}
            for index, of_all, confidence in zip(
                best.tolist(), probabilities, _confidence(shares, best).tolist(), strict=True
            )
        ]

    @cached_property
    def _texts(self) -> list[str]:
        return [label_text(label) for label in self.task.classes]

    def _shares(
        self, values: npt.NDArray[np.floating[Any]], threshold: float
    ) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64] | None]:
        """The probability of each class, and which one is answered; None for multilabel, which answers several."""
        match self.task.kind:
            case TaskKind.BINARY:
                best = is_yes(values[:, 0], threshold).astype(np.int64)
                return np.concatenate((1 - values, values), axis=1), best
            case TaskKind.MULTICLASS:
                return values, values.argmax(axis=1) if len(values) else np.zeros(0, dtype=np.int64)
        return values, None

    def _chosen(self, shares: npt.NDArray[np.floating[Any]]) -> list[list[str]]:
        return [[str(self.task.classes[i]) for i in np.flatnonzero(is_yes(row))] for row in shares]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; floats survive `json` bit for bit."""
        return {"task": self.task.to_dict(), "transform": self.transform, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        codec = cls(Task.from_dict(values["task"]), values["transform"])
        codec.mean, codec.scale = values["mean"], values["scale"]
        return codec

    def _transformed(self, frame: pl.DataFrame, source: str) -> npt.NDArray[np.float64]:
        values = _column(frame, self.task.target[0], source)
        read = values.to_frame("v").select(number(pl.col("v"), values.dtype)).to_series()
        if read.null_count():
            without = how_many(read.null_count(), "row has", "rows have")
            raise DataError(f"{source}: {without} no number in the target column {values.name!r}.")
        numbers = read.to_numpy()
        if self.transform == "none":
            return numbers
        if len(numbers) and numbers.min() < 0:
            raise DataError(
                f"{source}: the target column {values.name!r} has {numbers.min():g}; "
                "`features.target_transform: log` needs targets that are not negative."
            )
        logs: npt.NDArray[np.float64] = np.log1p(numbers)
        return logs

    def in_units(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Standardised values, of any shape, in units of the target; regression only."""
        raw = values.astype(np.float64) * self.scale + self.mean
        # log(float64's largest) is 709.8: an output gone wild is large, not infinite.
        return np.expm1(raw.clip(None, 709.0)) if self.transform == "log" else raw

    def standardised(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The inverse of `in_units`."""
        raw = np.log1p(values) if self.transform == "log" else values
        standard: npt.NDArray[np.float64] = (raw - self.mean) / self.scale
        return standard

    def _ids(self, values: pl.Series, classes: Sequence[Label], source: str) -> npt.NDArray[np.int64]:
        logical = all(isinstance(label, bool) for label in classes)
        labels = values.to_frame("v").select(boolean(pl.col("v"), values.dtype)).to_series() if logical else values
        ids = vocabulary_ids([label_text(label) for label in classes], labels.dtype)(labels)
        if nulls := int((ids == NULL_ID).sum()):
            without = how_many(nulls, "row has", "rows have")
            raise DataError(f"{source}: {without} no label in the target column {values.name!r}.")
        if (unknown := (ids == UNSEEN_ID).arg_true()).len():
            label = values[int(unknown[0])]
            raise DataError(
                f"{source}: label {label!r} in the target column {values.name!r} is none of the classes "
                f"({how_many(len(unknown), 'row has', 'rows have')} such a label).{did_you_mean(str(label), classes)}"
            )
        return (ids - FIRST_CATEGORY_ID).cast(pl.Int64).to_numpy(writable=True)


@lru_cache(maxsize=10_000, typed=True)
def label_text(label: Label) -> str:
    """The canonical text of a class label, as in the names of the probability columns.

    A server asks for that of every answer; a frame for each would take longer than the network.

    Examples:
        >>> [label_text(label) for label in (True, 1, 1.0, 0.5, " yes")]
        ['true', '1', '1', '0.5', 'yes']
    """
    values = pl.Series("v", [label])
    return str(values.to_frame().select(category(pl.col("v"), values.dtype)).item())


def _bounds(values: npt.NDArray[np.floating[Any]]) -> tuple[str, ...]:
    return ("prediction", "lower", "upper")[: values.shape[1]]


def _confidence(shares: npt.NDArray[np.floating[Any]], best: npt.NDArray[np.int64]) -> npt.NDArray[np.floating[Any]]:
    """The probability of the answer."""
    return np.take_along_axis(shares, best[:, None], axis=1)[:, 0]


def _column(frame: pl.DataFrame, name: str, source: str) -> pl.Series:
    if name not in frame.columns:
        raise DataError(f"{source}: there is no target column {name!r}.{did_you_mean(name, frame.columns)}")
    values = frame[name]
    refuse_nested(name, values.dtype)
    return values
