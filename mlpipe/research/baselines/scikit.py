"""The baselines of scikit-learn, which are always there.

Hyperparameters are the library's defaults but for two named below: no baseline is tuned, and none is crippled.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlpipe.research.baselines.prepared import Fitted, Floats, Problem, Rows

log = logging.getLogger(__name__)

#: Most distinct values of a category that histogram gradient boosting splits on; it bins into 255, one for null.
MOST_CATEGORIES = 254
#: Iterations of the logistic regression's solver; separable classes ask for ever more.
LINEAR_ITERATIONS = 300
#: Pull of the leaves to 0, which is XGBoost's default. With scikit-learn's, none, rare classes run away: with the 23 of
#: KDD Cup 99, AUROC is 0.46, and 1.00 with it; where no class is rare it hardly matters.
TREE_L2 = 1.0


def fit_most_frequent(problem: Problem, _seed: int) -> Fitted:
    """The share of each class, or the mean, whatever the row."""
    model = DummyClassifier(strategy="prior") if problem.num_classes else DummyRegressor()
    model.fit(problem.train.inputs.numeric, problem.train.target, sample_weight=problem.train.weight)
    return Fitted(lambda inputs: _answers(model, inputs.numeric, problem))


def fit_linear(problem: Problem, seed: int) -> Fitted:
    """A logistic or ridge regression on standardised numbers and one-hot categories."""
    fill = SimpleImputer(strategy="median", add_indicator=True)
    numbers = list(range(len(problem.spec.numeric)))
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(fill, StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), problem.categories),
        ]
    )
    logistic = LogisticRegression(max_iter=LINEAR_ITERATIONS, random_state=seed)
    model = logistic if problem.num_classes else Ridge(random_state=seed)
    train = problem.train
    with warnings.catch_warnings():
        # It is told below, with the number of iterations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(encode.fit_transform(train.inputs.matrix()), train.target, sample_weight=train.weight)
    if problem.num_classes and max(model.n_iter_) >= model.max_iter:
        log.info("The logistic regression had not settled after %d iterations, and is used as it is.", model.max_iter)
    return Fitted(lambda inputs: _answers(model, encode.transform(inputs.matrix()), problem))


def fit_hist_gradient_boosting(problem: Problem, seed: int) -> Fitted:
    """scikit-learn's trees, to which nulls and categories go as they are."""
    train = problem.train
    if problem.num_classes:
        # A class of one row teaches nothing, and has none to hold back for early stopping, which scikit-learn refuses.
        train = train.take(np.bincount(train.target)[train.target] > 1)
        if len(np.unique(train.target)) == 1:
            return fit_most_frequent(_trained_on(problem, train), seed)
    kind = HistGradientBoostingClassifier if problem.num_classes else HistGradientBoostingRegressor
    model = kind(categorical_features=problem.categories or None, l2_regularization=TREE_L2, random_state=seed)
    model.fit(train.inputs.tree_matrix(), train.target, sample_weight=train.weight)
    return Fitted(lambda inputs: _answers(model, inputs.tree_matrix(), problem), int(model.n_iter_))


def _trained_on(problem: Problem, train: Rows) -> Problem:
    return Problem(problem.spec, problem.num_classes, train, problem.validation)


def _answers(model: Any, matrix: Floats, problem: Problem) -> Floats:
    """Values, or (T, K) probabilities; a class that the model was not shown gets 0."""
    if not problem.num_classes:
        return np.asarray(model.predict(matrix))
    p_TK = np.zeros((matrix.shape[0], problem.num_classes))
    p_TK[:, model.classes_] = model.predict_proba(matrix)
    return p_TK
