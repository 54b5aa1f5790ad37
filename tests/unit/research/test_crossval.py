"""What a cross-validation refuses before its first fold; the rest is in tests/integration/test_crossval.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpipe.errors import DataError
from mlpipe.research.crossval import cross_validate, fold_seed
from mlpipe.training.parser import parse_config


def test_a_fold_of_which_no_row_counts_is_found_before_the_first_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    day = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 4, 9), eager=True)
    weight = (np.arange(100) < 70).astype(float)  # in time order the last of three folds has rows from 75 on
    pl.DataFrame({"day": day, "x": random.normal(size=100), "w": weight, "y": random.normal(size=100)}).write_csv(
        "table.csv"
    )
    words = ["--data={path: table.csv, target: y, time: day, weight: w}", "--tracking.enabled=false"]
    with pytest.raises(DataError, match=r"^table\.csv: all weights of the test rows are 0, as `data\.weight`"):
        cross_validate(parse_config(words), folds=3, run="cv", progress=False)
    assert not Path("cv").exists()


def test_the_seed_behind_the_highest_is_the_lowest() -> None:
    assert [fold_seed(2**32 - 2, index) for index in range(3)] == [2**32 - 2, 2**32 - 1, 0]
