"""An ensemble's statistics are of the rows of all its members, as the last one sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.bundle.describing import ensemble_statistics
from mlpipe.bundle.format import BundleContents, read_bundle
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import TableStatistics
from mlpipe.schema import TaskKind

Fit = Callable[..., Any]
#: Stands for what is answered.
ANSWERS = TableStatistics(7, (), ())


@pytest.fixture
def observed(fitted: Fit, tmp_path: Path) -> BundleContents:
    return read_bundle(fitted(TaskKind.REGRESSION, seed=1).write(tmp_path / "bundle"))


def test_the_members_own_rows_give_the_members_own_statistics(fitted: Fit, observed: BundleContents) -> None:
    found = ensemble_statistics(observed, fitted(TaskKind.REGRESSION, seed=1).frame, ANSWERS)
    assert found == replace(observed.statistics, predictions=ANSWERS)


def test_rows_of_other_members_count_as_much(fitted: Fit, observed: BundleContents) -> None:
    frames = [fitted(TaskKind.REGRESSION, seed=seed).frame for seed in (0, 1)]
    frames[0] = frames[0].with_columns(age=pl.col("age") + 1_000, city=pl.lit("elsewhere"))
    rows = pl.concat(frames)
    found = ensemble_statistics(observed, rows, ANSWERS)
    assert found.features.rows == rows.height
    assert found.range("age") == (rows["age"].min(), rows["age"].max())
    assert observed.statistics.range("age") == (frames[1]["age"].min(), frames[1]["age"].max())
    age = next(number for number in found.features.numeric if number.name == "age")
    assert age.missing == pytest.approx(rows["age"].null_count() / rows.height)
    city = next(category for category in found.features.categorical if category.name == "city")
    assert city.unseen == pytest.approx(0.5)  # the observed member has no such city
    shares = dict(zip(city.names, city.shares, strict=True))
    assert shares["city 0"] == pytest.approx((frames[1]["city"] == "city 0").sum() / rows.height)


def test_features_of_similar_rows_are_left_out(fitted: Fit, observed: BundleContents) -> None:
    source = fitted(TaskKind.REGRESSION, seed=1)
    preprocessor = Preprocessor(source.schema, FeaturesConfig(neighbors="always")).fit(source.frame)
    member = replace(observed, preprocessor=preprocessor, statistics=preprocessor.statistics_)
    found = ensemble_statistics(member, source.frame, ANSWERS)
    assert found.features == preprocessor.statistics_.features
    assert found.fits(preprocessor.input_spec_)
    assert preprocessor.neighbors_ is not None  # the member itself still has them
    assert preprocessor.transform(source.frame).numeric.shape[1] > len(found.features.numeric)
    assert np.isfinite(preprocessor.transform(source.frame).numeric).all()
