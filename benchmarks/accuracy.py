"""Scores of the shipped default config on tables with published splits.

    python benchmarks/accuracy.py --data FOLDER [--sets adult california] [--seeds 0 1 2] [dotted overrides]

FOLDER holds `adult/adult.data`, `adult/adult.test` and `california_housing/cal_housing_full.data.gz` as published (UCI;
Pace & Barry 1997). Splits: Adult's official test file, its training file cut by `train_test_split(test_size=0.2,
stratify=y, random_state=1)`; California in scikit-learn's form (ratios, target in 100,000 dollars), cut by
`train_test_split(test_size=0.2)` with random_state 0 (test), then 1 (validation). Writes results/accuracy.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import load_table
from mlpipe.training.loop import train
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent
ADULT = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]
#: Metric that is compared, by set.
METRIC = {"adult": "accuracy", "california": "rmse"}


def adult(source: Path, out: Path) -> str:
    """Write train, validation and test files; returns the target's name."""

    def read(name: str) -> pl.DataFrame:
        lines = [line.strip() for line in (source / "adult" / name).read_text().splitlines()]
        rows = [[field.strip() for field in line.rstrip(".").split(",")] for line in lines if line.count(",") == 14]
        return pl.DataFrame(rows, schema=ADULT, orient="row")

    rest, test = read("adult.data"), read("adult.test")
    labels = rest["income"].to_numpy()
    train_rows, validation_rows = train_test_split(np.arange(len(rest)), test_size=0.2, stratify=labels, random_state=1)
    _write(out, rest, train_rows, validation_rows, test)
    return "income"


def california(source: Path, out: Path) -> str:
    """Write train, validation and test files; returns the target's name."""
    raw = pl.read_csv(source / "california_housing" / "cal_housing_full.data.gz")
    households = pl.col("households")
    table = raw.select(
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
    rest, test_rows = train_test_split(np.arange(len(table)), test_size=0.2, random_state=0)
    train_rows, validation_rows = train_test_split(rest, test_size=0.2, random_state=1)
    _write(out, table, train_rows, validation_rows, table[test_rows])
    return "MedHouseVal"


def _write(out: Path, rest: pl.DataFrame, train_rows: Any, validation_rows: Any, test: pl.DataFrame) -> None:
    for name, frame in (("train", rest[train_rows]), ("validation", rest[validation_rows]), ("test", test)):
        frame.write_csv(out / f"{name}.csv")


SETS: dict[str, Callable[[Path, Path], str]] = {"adult": adult, "california": california}


def fit_once(folder: Path, target: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train the default config on the three files of a folder."""
    files = [f"--data.{part}={folder / f'{part}.csv'}" for part in ("train", "validation", "test")]
    config = parse_config([*files, f"--data.target={target}", f"--seed_everything={seed}", *overrides])
    table = load_table(config.data)
    data = TabularDataModule(
        table.schema, table.frames, config.features, batch_size=config.data.batch_size, seed=config.seed
    )
    trainer = {**config.trainer, "enable_progress_bar": sys.stderr.isatty(), "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as checkpoints:
        trained = train(data, config.model, config.training, trainer, checkpoints=Path(checkpoints), seed=config.seed)
    return {"seed": seed, "seconds": trained.train_seconds, "epochs": trained.epochs, **trained.metrics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args, overrides = parser.parse_known_args()
    results: dict[str, Any] = {}
    for name in args.sets:
        with tempfile.TemporaryDirectory() as folder:
            try:
                target = SETS[name](args.data, Path(folder))
            except FileNotFoundError as error:
                print(f"{name}: left out, {error.filename} is not there")
                continue
            runs = []
            for seed in args.seeds:
                run = fit_once(Path(folder), target, seed, overrides)
                runs.append(run)
                print(
                    f"{name} seed {seed}: test {METRIC[name]} {run['test'][METRIC[name]]:.4f} (validation "
                    f"{run['validation'][METRIC[name]]:.4f}), {run['epochs']} epochs, {run['seconds']:.0f} s",
                    flush=True,
                )
            results[name] = {"runs": runs, "overrides": overrides}
    lines = ["| table | metric | test, mean of seeds | spread | training seconds, median |", "|---|---|---|---|---|"]
    for name, result in results.items():
        values = [run["test"][METRIC[name]] for run in result["runs"]]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        seconds = statistics.median(run["seconds"] for run in result["runs"])
        lines.append(f"| {name} | {METRIC[name]} | {statistics.mean(values):.4f} | {spread:.4f} | {seconds:.0f} |")
    print("\n".join(lines))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "accuracy.json").write_text(json.dumps(results, indent=2) + "\n")
    (args.results / "accuracy.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
