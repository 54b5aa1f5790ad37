"""Which version predicts better, once outcomes are known: metrics, and intervals of their differences.

Every version is compared with the one that answered most requests that clients got to see. Two versions that both
answered most of the smaller one's requests (the second in the shadow, say) are compared on those, pair by pair, which
takes out how hard a request was; otherwise each on its own requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, did_you_mean
from mlpipe.serving.requestlog import Answers, VersionAnswers
from mlpipe.serving.resampling import Auroc, Mean, Statistic, paired_difference, unpaired_difference

LEVEL = 0.95
#: With fewer rows no bootstrap interval is to be relied on.
MIN_ROWS = 30
METHOD = "BCa bootstrap"

HIGHER_IS_BETTER = {"log_loss": False, "accuracy": True, "auroc": True}, {"rmse": False, "mae": False}

#: Probabilities are kept this far from 0 in the log-loss: the resolution of float32, which they come in.
_EPSILON = float(np.finfo(np.float32).eps)

Verdict = Literal["first", "second", "cannot tell"]


@dataclass(frozen=True)
class Score:
    """One version by itself: its rows with an outcome, how many of them clients got to see, and its metric."""

    version: str
    rows: int
    served: int
    value: float


@dataclass(frozen=True)
class Duel:
    """Two versions.

    Attributes:
        first: The version that answered most.
        second: Another.
        paired: Whether both are measured on the same requests.
        rows: How many requests each is measured on.
        values: The metric of each on these.
        difference: Second minus first.
        lower: The interval's lower bound.
        upper: Its upper bound.
        level: The interval's; above 95 % with several duels, so that all of them together hold with 95 % (Bonferroni).
        better: Which of them is, or that the data cannot tell them apart.
    """

    first: str
    second: str
    paired: bool
    rows: tuple[int, int]
    values: tuple[float, float]
    difference: float
    lower: float
    upper: float
    level: float
    better: Verdict


@dataclass(frozen=True)
class Comparison:
    """All versions of a log.

    Attributes:
        metric: What is compared.
        higher_is_better: Whether more of it is better.
        method: How the intervals are made.
        scores: Of every version, the one that answered most first.
        duels: Of the first with every other.
        unknown: How many answers have no outcome.
    """

    metric: str
    higher_is_better: bool
    method: str
    scores: list[Score]
    duels: list[Duel]
    unknown: int


def compare_versions(answers: Answers, metric: str | None = None, *, seed: int = 0) -> Comparison:
    """Compare the versions of a log.

    Args:
        answers: With outcomes.
        metric: accuracy, log_loss or auroc for classes, rmse or mae for numbers; None: log_loss or rmse.
        seed: Of the resamples.

    Raises:
        DataError: The log has no such metric, or it is not defined on these rows.
    """
    known = HIGHER_IS_BETTER[0 if answers.classes else 1]
    metric = metric or next(iter(known))
    if metric not in known:
        what = "classes" if answers.classes else "numbers"
        raise DataError(f"The log holds {what}, for which there is no {metric!r}.{did_you_mean(metric, known)}")
    order = sorted(answers.versions, key=lambda name: -answers.versions[name].served)
    scores = []
    for name in order:
        version = answers.versions[name]
        value = _defined(_statistic(metric, version), metric, name).estimate()
        scores.append(Score(name, len(version.ids), version.served, value))
    rng = np.random.default_rng(seed)
    level = 1 - (1 - LEVEL) / max(len(order) - 1, 1)
    duels = [_duel(answers, metric, order[0], other, level, rng, higher=known[metric]) for other in order[1:]]
    return Comparison(metric, known[metric], METHOD, scores, duels, answers.unknown)


def _duel(
    answers: Answers, metric: str, first: str, second: str, level: float, rng: np.random.Generator, *, higher: bool
) -> Duel:
    one, two = answers.versions[first], answers.versions[second]
    at = {key: index for index, key in enumerate(two.ids)}
    shared = [(index, at[key]) for index, key in enumerate(one.ids) if key in at]
    paired = 2 * len(shared) >= min(len(one.ids), len(two.ids))
    if paired:
        rows_N, others_N = np.array(shared).T
        one, two = _rows(one, rows_N), _rows(two, others_N)
    statistics = _defined(_statistic(metric, one), metric, first), _defined(_statistic(metric, two), metric, second)
    interval = paired_difference if paired else unpaired_difference
    lower, upper = interval(*statistics, rng, level=level)
    values = statistics[0].estimate(), statistics[1].estimate()
    better: Verdict = "cannot tell"
    if min(statistics[0].size, statistics[1].size) >= MIN_ROWS and (lower > 0 or upper < 0):
        better = "second" if (lower > 0) == higher else "first"
    return Duel(
        first,
        second,
        paired,
        (statistics[0].size, statistics[1].size),
        values,
        values[1] - values[0],
        lower,
        upper,
        level,
        better,
    )


def _rows(version: VersionAnswers, index_N: npt.NDArray[np.int64]) -> VersionAnswers:
    probabilities = None if version.probabilities is None else version.probabilities[index_N]
    ids = [version.ids[index] for index in index_N]
    return VersionAnswers(ids, version.truth[index_N], version.prediction[index_N], probabilities, version.served)


def _statistic(metric: str, version: VersionAnswers) -> Statistic:
    truth, prediction, probabilities = version.truth, version.prediction, version.probabilities
    match metric, probabilities:
        case "accuracy", _:
            return Mean((prediction == truth).astype(np.float64))
        case "rmse", _:
            return Mean((prediction - truth) ** 2, root=True)
        case "mae", _:
            return Mean(np.abs(prediction - truth))
        case "log_loss", np.ndarray():
            of_truth = probabilities[np.arange(len(truth)), truth]
            return Mean(-np.log(np.clip(of_truth, _EPSILON, 1.0)))
        case _, np.ndarray():
            return Auroc(probabilities, truth)
    raise AssertionError(metric)


def _defined(statistic: Statistic, metric: str, version: str) -> Statistic:
    if np.isnan(statistic.estimate()):
        raise DataError(f"{metric} of version {version} is not defined: all of its rows have the same outcome.")
    return statistic
