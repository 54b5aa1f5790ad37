from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as skm

from mlpipe.errors import DataError
from mlpipe.serving.comparison import Comparison, compare_versions
from mlpipe.serving.requestlog import Answers, VersionAnswers

Values = npt.NDArray[Any]


def classifier(rng: np.random.Generator, ids: list[int], truth: Values, skill: float, served: int) -> VersionAnswers:
    """Answers of a model that knows more the more skill it has."""
    logit = skill * (2 * truth - 1) + rng.normal(size=len(truth))
    p = 1 / (1 + np.exp(-logit))
    return VersionAnswers(
        [str(key) for key in ids], truth, (p > 0.5).astype(np.int64), np.column_stack([1 - p, p]), served
    )


def regressor(rng: np.random.Generator, ids: list[int], truth: Values, noise: float, served: int) -> VersionAnswers:
    return VersionAnswers([str(key) for key in ids], truth, truth + rng.normal(size=len(truth)) * noise, None, served)


def log(skills: dict[str, float], size: int, *, together: bool, classes: bool = True) -> Answers:
    """A log of versions, the first of which answers clients; together: all answer the same requests."""
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 2, size) if classes else rng.normal(size=size) * 10
    versions = {}
    for index, (name, skill) in enumerate(skills.items()):
        ids = list(range(size)) if together else list(range(index * size, (index + 1) * size))
        truth = shared if together else (rng.integers(0, 2, size) if classes else rng.normal(size=size) * 10)
        make = classifier if classes else regressor
        versions[name] = make(rng, ids, truth, skill, size - index)
    return Answers(("no", "yes") if classes else (), versions, 7)


REFERENCES: dict[str, Callable[[VersionAnswers], float]] = {
    "accuracy": lambda v: skm.accuracy_score(v.truth, v.prediction),
    "log_loss": lambda v: skm.log_loss(v.truth, v.probabilities),
    "auroc": lambda v: skm.roc_auc_score(v.truth, np.asarray(v.probabilities)[:, 1]),
    "rmse": lambda v: skm.root_mean_squared_error(v.truth, v.prediction),
    "mae": lambda v: skm.mean_absolute_error(v.truth, v.prediction),
}


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize("together", [True, False])
def test_metrics_are_scikit_learns_and_the_better_version_is_found(metric: str, together: bool) -> None:
    classes = metric not in ("rmse", "mae")
    answers = log(
        {"old": 0.5 if classes else 2.0, "new": 1.5 if classes else 1.0}, 400, together=together, classes=classes
    )
    found = compare_versions(answers, metric)
    for score in found.scores:
        assert score.value == pytest.approx(REFERENCES[metric](answers.versions[score.version]), abs=1e-9)
    (duel,) = found.duels
    assert (duel.first, duel.second, duel.paired, duel.rows) == ("old", "new", together, (400, 400))
    assert duel.difference == pytest.approx(duel.values[1] - duel.values[0])
    assert duel.lower < duel.difference < duel.upper
    assert duel.better == "second"
    assert found.higher_is_better is (metric in ("accuracy", "auroc"))
    assert found.unknown == 7


def verdicts(found: Comparison) -> list[str]:
    return [duel.better for duel in found.duels]


def test_a_worse_version_is_found_too() -> None:
    assert verdicts(compare_versions(log({"old": 1.5, "new": 0.5}, 400, together=True))) == ["first"]


@pytest.mark.parametrize("together", [True, False])
def test_versions_of_the_same_skill_cannot_be_told_apart(together: bool) -> None:
    assert verdicts(compare_versions(log({"old": 1.0, "new": 1.0}, 300, together=together))) == ["cannot tell"]


def test_few_requests_cannot_tell_however_clear_they_seem() -> None:
    found = compare_versions(log({"old": 0.1, "new": 4.0}, 25, together=True))
    assert found.duels[0].upper < 0
    assert verdicts(found) == ["cannot tell"]


def test_several_versions_are_compared_with_the_one_that_answered_most() -> None:
    found = compare_versions(log({"old": 1.0, "same": 1.0, "new": 2.0}, 400, together=True))
    assert [score.version for score in found.scores] == ["old", "same", "new"]
    assert [(duel.first, duel.second) for duel in found.duels] == [("old", "same"), ("old", "new")]
    assert [duel.level for duel in found.duels] == [pytest.approx(0.975)] * 2
    assert verdicts(found) == ["cannot tell", "second"]


def test_one_version_alone_has_a_score() -> None:
    found = compare_versions(log({"old": 1.0}, 50, together=True))
    assert (len(found.scores), found.duels) == (1, [])


def test_requests_in_common_decide_on_pairing_and_are_put_in_order() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300) * 10
    both = regressor(rng, list(range(300)), truth, 1.0, 300)
    order = rng.permutation(300)[:100]
    some = regressor(rng, order.tolist(), truth[order], 1.0, 0)
    (duel,) = compare_versions(Answers((), {"a": both, "b": some}, 0)).duels
    assert (duel.paired, duel.rows) == (True, (100, 100))
    expected = skm.root_mean_squared_error(truth[order], both.prediction[order])
    assert duel.values[0] == pytest.approx(expected)
    few = regressor(rng, [*range(49), *range(1000, 1051)], rng.normal(size=100), 1.0, 0)
    (duel,) = compare_versions(Answers((), {"a": both, "b": few}, 0)).duels
    assert (duel.paired, duel.rows) == (False, (300, 100))


def test_the_same_log_gives_the_same_interval() -> None:
    answers = log({"old": 1.0, "new": 1.2}, 100, together=True)
    assert compare_versions(answers) == compare_versions(answers)


def test_a_metric_that_is_none_or_not_defined_is_one_sentence() -> None:
    answers = log({"old": 1.0, "new": 1.2}, 100, together=True)
    with pytest.raises(DataError, match=r"^The log holds classes, for which there is no 'rmse'\. There are: accuracy,"):
        compare_versions(answers, "rmse")
    one = answers.versions["old"]
    alike = VersionAnswers(one.ids, np.ones(100, dtype=np.int64), one.prediction, one.probabilities, 100)
    with pytest.raises(DataError, match="auroc of version old is not defined: all of its rows have the same outcome"):
        compare_versions(Answers(("no", "yes"), {"old": alike}, 0), "auroc")
