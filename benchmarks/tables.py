"""The public tables, cut as published: train, validation and test rows, the target, the metric.

Where others have published scores, the rows are theirs: Adult has an official test file, Letter's first 16,000 rows
are for training, the bicycles of 2011 train and those of 2012 test; the others are cut by `train_test_split(arange(n),
test_size=0.2, random_state=0)` into rest and test, the rest by the same with random_state 1 into train and validation;
stratified for classification. Adult, Letter and the bicycles lose their validation rows by that second rule.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

ADULT = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]


@dataclass(frozen=True)
class PublicTable:
    """A table and how it is compared.

    Attributes:
        files: Below the folder of the tables; the second, if any, holds the test rows.
        target: The target's name.
        metric: By which models are compared: `accuracy`, or `rmse`.
        read: From the paths of the files to the rows that are cut, and the test rows if they are set apart.
        train_rows: How many rows are trained on: the default recipe goes by them.
        outputs: Of the network: one, or of more than two classes as many as there are.
    """

    files: tuple[str, ...]
    target: str
    metric: str
    read: Callable[..., tuple[pl.DataFrame, pl.DataFrame | None]]
    train_rows: int
    outputs: int = 1

    def parts(self, folder: Path) -> dict[str, pl.DataFrame]:
        """Rows of `train`, `validation` and `test`.

        Raises:
            FileNotFoundError: A file is not there.
            ValueError: It has other rows than what was published.
        """
        rest, test = self.read(*(folder / file for file in self.files))
        if test is None:
            rest, test = self._cut(rest, 0)
        train, validation = self._cut(rest, 1)
        if len(train) != self.train_rows:
            raise ValueError(
                f"{self.files[0]} leaves {len(train):,} rows to train on; published are {self.train_rows:,}"
            )
        return {"train": train, "validation": validation, "test": test}

    def _cut(self, table: pl.DataFrame, random_state: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        labels = table[self.target].to_numpy() if self.metric == "accuracy" else None
        kept, held_out = train_test_split(
            np.arange(len(table)), test_size=0.2, stratify=labels, random_state=random_state
        )
        return table[kept], table[held_out]


def _plain(*left_out: str) -> Callable[[Path], tuple[pl.DataFrame, None]]:
    def read(path: Path) -> tuple[pl.DataFrame, None]:
        return pl.read_csv(path, null_values=["", " "], infer_schema_length=None).drop(left_out), None

    return read


def _log_price(*left_out: str) -> Callable[[Path], tuple[pl.DataFrame, None]]:
    def read(path: Path) -> tuple[pl.DataFrame, None]:
        return _plain(*left_out)(path)[0].with_columns(pl.col("price").cast(pl.Float64).log()), None

    return read


def _adult(train: Path, test: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    def read(path: Path) -> pl.DataFrame:
        lines = [line.strip() for line in path.read_text().splitlines()]
        rows = [[field.strip() for field in line.rstrip(".").split(",")] for line in lines if line.count(",") == 14]
        return pl.DataFrame(rows, schema=ADULT, orient="row")

    return read(train), read(test)


def _california(path: Path) -> tuple[pl.DataFrame, None]:
    """In scikit-learn's form: ratios, the target in 100,000 dollars."""
    households = pl.col("households")
    table = pl.read_csv(path).select(
        MedInc="medianIncome",
        HouseAge="housingMedianAge",
        AveRooms=pl.col("totalRooms") / households,
        AveBedrms=pl.col("totalBedrooms") / households,
        Population="population",
        AveOccup=pl.col("population") / households,
        Latitude="latitude",
        Longitude="longitude",
        MedHouseVal=pl.col("medianHouseValue") / 100_000,
    )
    return table, None


def _letter(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = pl.read_csv(path, has_header=not path.read_text()[:2].endswith(","))
    table.columns = ["letter", *(f"x{index}" for index in range(1, table.width))]
    return table[:16_000], table[16_000:]


def _bicycles(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The two counts that add up to the target, the date and the row's number are left out."""
    with zipfile.ZipFile(path) as archive:
        table = pl.read_csv(archive.read("hour.csv")).drop("instant", "dteday", "casual", "registered")
    first = pl.col("yr") == 0
    return table.filter(first).drop("yr"), table.filter(~first).drop("yr")


TABLES = {
    "adult": PublicTable(("adult/adult.data", "adult/adult.test"), "income", "accuracy", _adult, 26_048),
    "california": PublicTable(
        ("california_housing/cal_housing_full.data.gz",), "MedHouseVal", "rmse", _california, 13_209
    ),
    "churn": PublicTable(
        ("churn_modelling/Churn_Modelling.csv",),
        "Exited",
        "accuracy",
        _plain("RowNumber", "CustomerId", "Surname"),
        6400,
    ),
    "diamond": PublicTable(("diamonds/diamonds.csv.gz",), "price", "rmse", _log_price(), 34_521),
    "letter": PublicTable(("letter/letter-recognition.data",), "letter", "accuracy", _letter, 12_800, outputs=26),
    "bicycles": PublicTable(("bike_sharing/Bike-Sharing-Dataset.zip",), "cnt", "rmse", _bicycles, 6916),
    "king_county": PublicTable(("king_county/kc_house_data.csv.gz",), "price", "rmse", _log_price("id"), 13_832),
    "shoppers": PublicTable(
        ("online_shoppers/online_shoppers_intention.csv.gz",), "Revenue", "accuracy", _plain(), 7891
    ),
    "telco": PublicTable(("telco_churn/Telco-Customer-Churn.csv",), "Churn", "accuracy", _plain("customerID"), 4507),
    "titanic": PublicTable(("titanic/titanic.csv",), "survived", "accuracy", _plain("alive"), 569),
}

#: Means over seeds that others have published for these rows, the best of the kind: gradient boosting with its
#: defaults, and one network trained from scratch (yandex-research's repositories of TabM, TabR and TabPack).
PUBLISHED = {
    "adult": "CatBoost .8730, MLP-PLR ensemble .8735",
    "california": "CatBoost .4334, TabPack .4176, TabR .3998",
    "churn": "CatBoost .8601, MLP-PLR .8624",
}
