"""A server's request log beside what came true: the answers of every version with their outcomes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.data.read import scan
from mlpipe.errors import DataError, did_you_mean, how_many
from mlpipe.features.typed import category

logger = logging.getLogger(__name__)

_VERSION, _PREDICTION, _SHADOW, _PROBABILITY = "model_version", "prediction", "shadow", "probability_"
_TRUTH = "__truth"


@dataclass(frozen=True)
class VersionAnswers:
    """What one version answered, where the outcome is known; N rows, C classes.

    Attributes:
        ids: Of the requests, each once.
        truth: (N,) the outcome: the index of its class, or a number.
        prediction: (N,) as `truth`; -1 is a class that has no probability.
        probabilities: (N, C) by class; None for numbers.
        served: How many of them clients got to see; the others were answered in the shadow.
    """

    ids: list[str]
    truth: npt.NDArray[Any]
    prediction: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64] | None
    served: int


@dataclass(frozen=True)
class Answers:
    """What all versions of a log answered.

    Attributes:
        classes: Their names; empty for numbers.
        versions: By version, in the order of its first request.
        unknown: How many answers have no outcome.
    """

    classes: tuple[str, ...]
    versions: dict[str, VersionAnswers]
    unknown: int


def read_answers(requests: str | Path, outcomes: str | Path, *, on: str, target: str) -> Answers:
    """Put the answers of a request log beside what came true.

    Answers without a prediction (the request failed), second answers of a version to one request, and outcomes that are
    null are left out, and the log says how many there were.

    Args:
        requests: A table with the columns `on`, `model_version`, `prediction`, for classes `probability_<class>`, and
            possibly `shadow`.
        outcomes: A table with the columns `on` and `target`.
        on: The identifier of a request, of any type; compared as text.
        target: What came true.

    Raises:
        DataError: A column is missing, an identifier has two outcomes, an outcome is no class or no number, or nothing
            fits together.
    """
    log = _select(requests, [on, _VERSION, _PREDICTION], optional=_SHADOW, prefix=_PROBABILITY)
    if isinstance(log.schema[_PREDICTION], pl.List):
        raise DataError(f"{requests} is of a model with several labels, which cannot be compared by one outcome.")
    log = _keep(requests, "answer", "without a prediction", log, pl.col(_PREDICTION).is_not_null())
    log = _keep(requests, "second answer", "of a version", log, pl.struct(on, _VERSION).is_first_distinct())
    truth = _select(outcomes, [on, target])
    truth = _keep(outcomes, "row", "without an outcome", truth, pl.all_horizontal(pl.col(on, target).is_not_null()))
    twice = truth.filter(pl.col(on).is_duplicated())
    if twice.height:
        raise DataError(f"{outcomes} has several rows whose {on!r} is {twice[on][0]!r}; which of them came true?")
    truth = truth.rename({target: _TRUTH})
    joined = log.join(truth, on=on, how="inner", maintain_order="left")
    if not joined.height:
        such = f", such as {log[on][0]!r}" if log.height else ", which has none"
        raise DataError(f"No {on!r} of {outcomes} is one of {requests}{such}.")
    names = [name for name in joined.columns if name.startswith(_PROBABILITY) and joined[name].count()]
    classes = tuple(name.removeprefix(_PROBABILITY) for name in names)
    truths = f"{outcomes}: {target!r}"

    def version(part: pl.DataFrame, name: str) -> VersionAnswers:
        prediction = part[_PREDICTION]
        return VersionAnswers(
            part[on].to_list(),
            _labels(part[_TRUTH], classes, truths) if classes else _numbers(part[_TRUTH], truths),
            _labels(prediction, classes) if classes else _numbers(prediction, f"{requests}: {_PREDICTION!r}"),
            _probabilities(part, names, name, requests) if classes else None,
            part.height if _SHADOW not in part.columns else int((~part[_SHADOW].fill_null(value=False)).sum()),
        )

    parts = joined.partition_by(_VERSION, as_dict=True, maintain_order=True)
    versions = {str(name): version(part, str(name)) for (name,), part in parts.items()}
    return Answers(classes, versions, log.height - joined.height)


def _select(source: str | Path, names: list[str], *, optional: str = "", prefix: str | None = None) -> pl.DataFrame:
    frame = scan(source)
    there = frame.collect_schema()
    for name in names:
        if name not in there:
            raise DataError(f"{source} has no column {name!r}.{did_you_mean(name, there.names())}")
    others = [name for name in there if name == optional or (prefix is not None and name.startswith(prefix))]
    return frame.select(*names, *others).with_columns(category(pl.col(names[0]), there[names[0]])).collect()


def _keep(source: str | Path, one: str, what: str, frame: pl.DataFrame, kept: pl.Expr) -> pl.DataFrame:
    """The rows that are kept; how many are not is logged."""
    left = frame.filter(kept)
    if count := frame.height - left.height:
        logger.warning("%s: %s %s left out.", source, how_many(count, one), what)
    return left


def _labels(values: pl.Series, classes: tuple[str, ...], where: str | None = None) -> npt.NDArray[np.int64]:
    """The index of each label's class; -1 for one that is none, which is an error if `where` says where it stands."""
    texts = values.to_frame("x").select(category(pl.col("x"), values.dtype))["x"]
    for text in texts.unique(maintain_order=True):
        if where is not None and text not in classes:
            raise DataError(f"{where} is {text!r}, which is no class of the log.{did_you_mean(str(text), classes)}")
    index = {name: position for position, name in enumerate(classes)}
    return np.array([index.get(text, -1) for text in texts], dtype=np.int64)


def _numbers(values: pl.Series, where: str) -> npt.NDArray[np.float64]:
    numbers = values.cast(pl.Float64, strict=False)
    wrong = values.filter(numbers.is_null() | ~numbers.is_finite())
    if wrong.len():
        raise DataError(f"{where} has {wrong[0]!r}, which is no number; the log has no probabilities of classes.")
    return numbers.to_numpy()


def _probabilities(part: pl.DataFrame, names: list[str], version: str, source: str | Path) -> npt.NDArray[np.float64]:
    for name in names:
        if part[name].null_count():
            raise DataError(f"{source} has no {name!r} in some answers of version {version}.")
    return part.select(pl.col(names).cast(pl.Float64)).to_numpy()
