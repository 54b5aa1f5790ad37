"""XGBoost, LightGBM and CatBoost: defaults, but as many rounds as the validation rows want, up to 4,000.

Nulls and categories go to each library in its own form. The loss that stops them is each library's default: the
log-loss, or the squared error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mlpipe.research.baselines.prepared import Fitted, Floats, Inputs, Problem, Rows

#: As in the published default figures: many trees, of which the best validation round is kept.
ROUNDS = 4_000
#: Rounds without a better validation loss before the fit ends.
PATIENCE = 200


def threads() -> int:
    """As many as torch has, so that all are timed on the same cores: not every library heeds OMP_NUM_THREADS."""
    return torch.get_num_threads()


def fit_xgboost(problem: Problem, seed: int) -> Fitted:
    """XGBoost's histogram trees, on its categorical splits."""
    import xgboost

    kinds = ["c" if index in problem.categories else "q" for index in range(problem.num_features)]
    model = (xgboost.XGBClassifier if problem.num_classes else xgboost.XGBRegressor)(
        n_estimators=ROUNDS,
        early_stopping_rounds=PATIENCE,
        enable_categorical=True,
        feature_types=kinds,
        n_jobs=threads(),
        random_state=seed,
    )
    train, validation = problem.train, problem.validation
    model.fit(
        train.inputs.tree_matrix(),
        train.target,
        sample_weight=train.weight,
        eval_set=[(validation.inputs.tree_matrix(), validation.target)],
        sample_weight_eval_set=None if validation.weight is None else [validation.weight],
        verbose=False,
    )
    answer = model.predict_proba if problem.num_classes else model.predict
    return Fitted(lambda inputs: np.asarray(answer(inputs.tree_matrix())), int(model.best_iteration) + 1)


def fit_lightgbm(problem: Problem, seed: int) -> Fitted:
    """LightGBM's leaf-wise trees, on its categorical splits."""
    import lightgbm

    def dataset(rows: Rows, like: Any = None) -> Any:
        matrix = rows.inputs.tree_matrix()
        return lightgbm.Dataset(
            matrix, rows.target, reference=like, weight=rows.weight, categorical_feature=problem.categories
        )

    objective: dict[str, Any] = {"objective": "regression"}
    if problem.num_classes:
        many = {"objective": "multiclass", "num_class": problem.num_classes}
        objective = many if problem.num_classes > 2 else {"objective": "binary"}
    train = dataset(problem.train)
    booster = lightgbm.train(
        {**objective, "num_threads": threads(), "seed": seed, "verbosity": -1},
        train,
        num_boost_round=ROUNDS,
        valid_sets=[dataset(problem.validation, train)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )

    def predict(inputs: Inputs) -> Floats:
        answer = np.asarray(booster.predict(inputs.tree_matrix()))
        return np.stack([1 - answer, answer], axis=1) if problem.num_classes == 2 else answer

    return Fitted(predict, int(booster.best_iteration))


def fit_catboost(problem: Problem, seed: int) -> Fitted:
    """CatBoost's symmetric trees, on its ordered target statistics of categories; null is one more category."""
    import catboost

    def pool(inputs: Inputs, rows: Rows | None = None) -> Any:
        labels = {} if rows is None else {"label": rows.target, "weight": rows.weight}
        return catboost.Pool(inputs.frame(), cat_features=problem.categories, **labels)

    model = (catboost.CatBoostClassifier if problem.num_classes else catboost.CatBoostRegressor)(
        iterations=ROUNDS,
        early_stopping_rounds=PATIENCE,
        thread_count=threads(),
        random_seed=seed,
        allow_writing_files=False,
        verbose=False,
    )
    train, validation = problem.train, problem.validation
    model.fit(pool(train.inputs, train), eval_set=pool(validation.inputs, validation))
    answer = model.predict_proba if problem.num_classes else model.predict
    return Fitted(
        lambda inputs: np.asarray(answer(pool(inputs), thread_count=threads())), int(model.best_iteration_) + 1
    )
