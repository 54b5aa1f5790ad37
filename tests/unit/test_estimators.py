"""The scikit-learn interface: any kind of table and label in, the same predictions as the bundle out."""

from __future__ import annotations

import pickle  # noqa: TID251  # what joblib and multiprocessing do to an estimator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from mlpipe.bundle.predictor import Predictor
from mlpipe.errors import BundleError, ConfigError, DataError, MlpipeError
from mlpipe.estimators import TransformerClassifier, TransformerRegressor

ROWS = 240
TINY: dict[str, Any] = {
    "model": {"width": 16, "num_heads": 2, "num_layers": 1, "readout_tokens": 2},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "batch_size": 32,
}


def table(seed: int = 0) -> pl.DataFrame:
    """Numbers with nulls, categories and dates."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "size": [None if i % 9 == 0 else float(value) for i, value in enumerate(random.normal(size=ROWS))],
            "color": random.choice(["red", "green", "blue"], ROWS),
            "sold": [date(2024, 1, 1) + timedelta(days=int(days)) for days in random.integers(0, 300, ROWS)],
            "weight": random.normal(size=ROWS),
        }
    )


X = table()
#: A bundle runs its network with the constants multiplied out; what was trained in this process runs as it is.
ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
POSITIVE = X["weight"].to_numpy() > 0
PRICE = 10 + 3 * X["weight"].to_numpy()


def classifier(**changes: Any) -> TransformerClassifier:
    return TransformerClassifier(**{**TINY, **changes})


def regressor(**changes: Any) -> TransformerRegressor:
    return TransformerRegressor(**{**TINY, **changes})


@pytest.fixture(scope="module")
def fitted() -> TransformerClassifier:
    return classifier().fit(X, np.where(POSITIVE, "yes", "no"))


@pytest.fixture(scope="module")
def fitted_regressor() -> TransformerRegressor:
    return regressor().fit(X, PRICE)


def test_cross_validation_of_a_classifier_beats_chance() -> None:
    longer = classifier(trainer={"max_epochs": 10, "accelerator": "cpu"})
    scores = cross_val_score(longer, X.to_pandas(), POSITIVE, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.75


def test_cross_validation_of_a_regressor_beats_the_mean() -> None:
    longer = regressor(trainer={"max_epochs": 10, "accelerator": "cpu"})
    scores = cross_val_score(longer, X.select("size", "weight").to_pandas(), PRICE, cv=3)
    assert scores.mean() > 0.5  # R²


def test_every_kind_of_table_gives_the_same_model() -> None:
    numbers = X.select(x0="size", x1="weight")  # the names that an array's columns get
    expected = regressor().fit(numbers, PRICE).predict(numbers)
    for other in (numbers.lazy(), numbers.to_pandas(), numbers.to_numpy(), numbers.to_numpy().astype(object)):
        np.testing.assert_array_equal(regressor().fit(other, PRICE).predict(other), expected)


def test_mixed_frames_of_pandas_and_polars_give_the_same_predictions(fitted: TransformerClassifier) -> None:
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(X.to_pandas()), expected)
    np.testing.assert_array_equal(fitted.predict_proba(X.lazy()), expected)
    np.testing.assert_array_equal(fitted.predict_proba(X.select(reversed(X.columns))), expected)
    np.testing.assert_array_equal(fitted.predict_proba(X.with_columns(more=1)), expected)


@pytest.mark.parametrize(
    ("negative", "positive"),
    [("no", "yes"), ("present", "absent"), (False, True), (0, 1), (7, 3), (0.0, 1.0), ("10", "9"), ("ä b", "a")],
)
def test_labels_come_back_as_they_went_in(negative: Any, positive: Any) -> None:
    y = np.where(POSITIVE, positive, negative)
    model = classifier(trainer={"max_epochs": 8, "accelerator": "cpu"}).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (ROWS, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    predicted = model.predict(X)
    assert predicted.dtype == y.dtype
    np.testing.assert_array_equal(predicted, model.classes_[probabilities.argmax(axis=1)])
    # The column of the positive label is the one that follows the relation in the data.
    column = probabilities[:, list(model.classes_).index(positive)]
    assert column[POSITIVE].mean() > column[~POSITIVE].mean() + 0.1
    assert model.score(X, y) > 0.75


@pytest.mark.parametrize(
    ("spellings", "classes", "of_spelling"),
    [
        ([" a", "a", "b"], ["a", "b"], [0, 0, 1]),
        (["01", "1", "2"], ["1", "2"], [0, 0, 1]),
        (["yes", "yes ", "zno"], ["yes", "zno"], [0, 0, 1]),
        (["b ", "10", "c", "10.0", "010"], ["10", "b ", "c"], [1, 0, 2, 0, 0]),
        ([" no", "Yes", "no", " no "], ["Yes", "no"], [1, 0, 1, 1]),
    ],
)
def test_labels_that_are_the_same_category_are_one_class(
    spellings: list[str], classes: list[str], of_spelling: list[int], tmp_path: Path
) -> None:
    row = np.arange(ROWS) % len(spellings)
    expected = np.array(of_spelling)[row]
    frame = pl.DataFrame({"told": [f"class {index}" for index in expected]})
    model = classifier(trainer={"max_epochs": 20, "accelerator": "cpu"}).fit(frame, np.array(spellings)[row])
    assert model.classes_.tolist() == classes
    assert len(model.predictor_.schema.task.classes) == len(classes)
    assert (model.predictor_.schema.task.kind == "binary") == (len(classes) == 2)
    np.testing.assert_array_equal(model.predict_proba(frame).argmax(axis=1), expected)
    np.testing.assert_array_equal(model.predict(frame), model.classes_[expected])
    loaded = TransformerClassifier.load(model.save(tmp_path / "bundle"))
    assert loaded.classes_.tolist() == classes
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    np.testing.assert_allclose(loaded.predict_proba(frame), model.predict_proba(frame), **ROUNDING)


@pytest.mark.parametrize("wrap", [list, pd.Series, pl.Series, lambda y: pd.Series(y, dtype="category")])
def test_labels_may_be_a_list_or_a_series(wrap: Any, fitted: TransformerClassifier) -> None:
    model = classifier().fit(X, wrap(np.where(POSITIVE, "yes", "no")))
    assert list(model.classes_) == ["no", "yes"]
    np.testing.assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))


def test_the_card_calls_the_target_as_its_series_is(tmp_path: Path) -> None:
    shortest = regressor(trainer={"max_epochs": 1, "accelerator": "cpu"}).fit(X, pd.Series(PRICE, name="price"))
    card = (shortest.save(tmp_path / "bundle") / "model_card.md").read_text()
    assert "Predicts `price`" in card


def test_messages_call_the_target_as_its_series_is() -> None:
    with pytest.raises(DataError, match="The target 'price' in X has the same value in every row"):
        regressor().fit(X, pd.Series(np.ones(ROWS), name="price"))


def test_more_than_two_classes() -> None:
    y = np.array(["low", "middle", "high"])[np.digitize(X["weight"].to_numpy(), [-0.5, 0.5])]
    model = classifier(trainer={"max_epochs": 10, "accelerator": "cpu"}).fit(X, y)
    assert list(model.classes_) == ["high", "low", "middle"]
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (ROWS, 3)
    for index, label in enumerate(model.classes_):
        assert probabilities[y == label, index].mean() > probabilities[y != label, index].mean() + 0.1


def test_regression_is_in_the_units_of_the_target(fitted_regressor: TransformerRegressor) -> None:
    predicted = fitted_regressor.predict(X)
    assert predicted.shape == (ROWS,)
    assert predicted.dtype == np.float64
    assert abs(predicted.mean() - PRICE.mean()) < 1
    assert fitted_regressor.metrics_["validation"].keys() == {"rmse", "mae", "r2"}


def test_nulls_and_unseen_values_are_predicted(fitted: TransformerClassifier) -> None:
    rows = pl.DataFrame(
        {"size": [None, 1e30], "color": ["never seen", None], "sold": [None, date(2090, 1, 1)], "weight": [None, 0.0]}
    )
    probabilities = fitted.predict_proba(rows)
    assert np.isfinite(probabilities).all()
    assert set(fitted.predict(rows)) <= {"no", "yes"}


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_saved_model_is_the_same_when_loaded(task: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model: Any = request.getfixturevalue("fitted" if task == "classification" else "fitted_regressor")
    bundle = model.save(tmp_path / "bundle")
    loaded = type(model).load(bundle)
    for predicted in (loaded.predict(X), Predictor.load(bundle).predict(X)["prediction"].to_numpy()):
        if task == "classification":
            np.testing.assert_array_equal(predicted, model.predict(X))
        else:
            np.testing.assert_allclose(predicted, model.predict(X), **ROUNDING)
    if task == "classification":
        np.testing.assert_array_equal(loaded.classes_, model.classes_)
        np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), **ROUNDING)
    assert loaded.n_features_in_ == model.n_features_in_ == 4
    assert list(loaded.feature_names_in_) == list(model.feature_names_in_)
    again = loaded.save(tmp_path / "again")
    assert Predictor.load(again).version == Predictor.load(bundle).version
    with pytest.raises(BundleError, match=r"^There is a bundle at '.*bundle' already; `overwrite=True` replaces it\.$"):
        model.save(bundle)
    model.save(bundle, overwrite=True)
    with pytest.raises(BundleError, match="is not a bundle, so it is never replaced"):
        model.save(tmp_path, overwrite=True)


def test_a_bundle_with_more_columns_than_features_is_loaded(tmp_path: Path) -> None:
    """A bundle of `mlpipe fit` knows identifiers too, which predictions do without."""
    frame = X.with_columns(pl.format("#{}", pl.int_range(ROWS)).alias("id"))
    model = classifier().fit(frame, POSITIVE)
    loaded = TransformerClassifier.load(model.save(tmp_path / "bundle"))
    np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(frame), **ROUNDING)


def test_a_bundle_of_another_task_is_refused(
    fitted: TransformerClassifier, fitted_regressor: TransformerRegressor, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"^The bundle is for binary; TransformerRegressor is for regression\.$"):
        TransformerRegressor.load(fitted.save(tmp_path / "classes"))
    with pytest.raises(DataError, match=r"^The bundle is for regression; TransformerClassifier is for binary or multi"):
        TransformerClassifier.load(fitted_regressor.save(tmp_path / "values"))


def test_sample_weights_matter(fitted: TransformerClassifier) -> None:
    y = np.where(POSITIVE, "yes", "no")
    weighted = classifier().fit(X, y, sample_weight=np.where(POSITIVE, 10.0, 0.1))
    assert weighted.predict_proba(X)[:, 1].mean() > fitted.predict_proba(X)[:, 1].mean() + 0.1
    assert weighted.n_features_in_ == 4


def test_random_state_decides(fitted: TransformerClassifier) -> None:
    y = np.where(POSITIVE, "yes", "no")
    np.testing.assert_array_equal(classifier().fit(X, y).predict_proba(X), fitted.predict_proba(X))
    other = classifier(random_state=1).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), fitted.predict_proba(X))


def test_without_a_random_state_each_fit_is_another() -> None:
    first, second = (classifier(random_state=None).fit(X, POSITIVE).predict_proba(X) for _ in range(2))
    assert not np.allclose(first, second)


def test_parameters_are_scikit_learns(fitted: TransformerClassifier) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert copy.get_params()["model"] == TINY["model"]
    assert not hasattr(copy, "predictor_")
    assert copy.set_params(random_state=5).random_state == 5


def test_a_fitted_estimator_survives_pickling(fitted: TransformerClassifier) -> None:
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301  # its own
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))


def test_numbers_of_numpy_are_numbers(fitted: TransformerClassifier, tmp_path: Path) -> None:
    """As a search over `np.arange` or `np.logspace` has them."""
    numbers = {
        "model": {name: np.int64(value) for name, value in TINY["model"].items()},
        "training": {"lr": np.float32(0.003), "compile": np.bool_(False)},
        "trainer": {"max_epochs": np.int32(2), "accelerator": "cpu"},
        "features": {"num_bins": np.int16(48)},
        "batch_size": np.int64(32),
        "validation_fraction": np.float64(0.15),
    }
    model = classifier(**numbers).fit(X, np.where(POSITIVE, "yes", "no"))
    model.save(tmp_path / "bundle")
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), atol=1e-3)


class TestMistakes:
    @pytest.mark.parametrize(("y", "shape"), [(POSITIVE[:-1], r"\(239,\)"), (POSITIVE[:, None], r"\(240, 1\)")])
    def test_x_and_y_of_different_lengths(self, y: Any, shape: str) -> None:
        with pytest.raises(DataError, match=f"X has 240 rows, but y has the shape {shape}"):
            classifier().fit(X, y)

    def test_x_and_weights_of_different_lengths(self) -> None:
        with pytest.raises(DataError, match=r"X has 240 rows, but sample_weight has the shape \(3,\)"):
            classifier().fit(X, POSITIVE, sample_weight=[1, 2, 3])

    @pytest.mark.parametrize("y", [[None, *(["a", "b"] * 119), "a"], np.r_[np.nan, PRICE[1:]]])
    def test_a_target_that_is_missing(self, y: Any) -> None:
        model = classifier() if isinstance(y, list) else regressor()
        with pytest.raises(DataError, match="y has no value in 1 of its 240 rows"):
            model.fit(X, y)

    def test_one_class_only(self) -> None:
        with pytest.raises(DataError, match="the same value in every row"):
            classifier().fit(X, ["a"] * ROWS)

    def test_another_number_of_columns(self) -> None:
        model = regressor().fit(X.select("size", "weight").to_numpy(), PRICE)
        with pytest.raises(DataError, match="X has 3 columns; this model was fitted on 2"):
            model.predict(np.zeros((5, 3)))

    def test_another_name(self, fitted: TransformerClassifier) -> None:
        with pytest.raises(DataError, match=r"no column 'color' .* Did you mean 'colour'\?"):
            fitted.predict(X.rename({"color": "colour"}))

    def test_no_table(self, fitted: TransformerClassifier) -> None:
        with pytest.raises(DataError, match=r"X has the shape \(3,\); it has to be a table"):
            fitted.predict(np.zeros(3))

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "save"])
    def test_not_fitted(self, method: str, tmp_path: Path) -> None:
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(tmp_path if method == "save" else X)
        if method == "predict":
            with pytest.raises(NotFittedError):
                regressor().predict(X)

    @pytest.mark.parametrize(
        ("group", "key", "right"),
        [
            ("model", "widht", "width"),
            ("training", "lrr", "lr"),
            ("features", "bin", "bins"),
            ("trainer", "max_epoch", "max_epochs"),
        ],
    )
    def test_a_key_that_does_not_exist(self, group: str, key: str, right: str) -> None:
        with pytest.raises(MlpipeError, match=f"{key}.* Did you mean '{right}'"):
            regressor(**{group: {key: 1}}).fit(X, PRICE)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"features": {"num_bins": "48"}}, "`features.num_bins` is '48'; it has to be a whole number."),
            ({"training": {"lr": "0.1"}}, "`training.lr` is '0.1'; it has to be a number or None."),
            ({"training": {"compile": "no"}}, "`training.compile` is 'no'; it has to be True or False."),
            ({"model": {"qk_norm": "no"}}, "`model.qk_norm` is 'no'; it has to be True or False."),
            ({"validation_fraction": "0.2"}, "`validation_fraction` is '0.2'; it has to be a number."),
            ({"batch_size": "32"}, "`batch_size` is '32'; it has to be a whole number or None."),
            ({"trainer": {"max_epochs": "3"}}, "`trainer.max_epochs` is '3'; it has to be a whole number or None."),
            ({"trainer": {"callbacks": "x"}}, "`trainer.callbacks` is 'x'; it has to be a list, a Callback or None."),
            ({"trainer": {"callbacks": ["x"]}}, "`trainer.callbacks` is ['x']; it has to be a list, a Callback or"),
            ({"model": "wide"}, "`model` is 'wide'; it has to be a mapping or None."),
            ({"columns": ["size"]}, "`columns` is ['size']; it has to be a mapping or None."),
        ],
    )
    def test_a_value_of_another_type(self, arguments: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ConfigError) as caught:
            classifier(**arguments).fit(X, POSITIVE)
        assert str(caught.value).startswith(sentence)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
    def test_no_rows_for_validation(self, fraction: float) -> None:
        with pytest.raises(ConfigError, match="`validation_fraction` is"):
            regressor(validation_fraction=fraction).fit(X, PRICE)
