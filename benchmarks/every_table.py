"""From a raw file with `mlpipe init` alone, no hand editing: does every table fit, export and predict?

    python benchmarks/every_table.py --data FOLDER [--epochs 1] [--only titanic ...] [--limit-train-batches 200]

FOLDER holds the public tables, a folder each, as published. For each: `mlpipe init`, `mlpipe fit` with the written
config, `mlpipe predict` of the same raw file with the exported bundle; every row has to get a prediction. Writes
results/every_table.{json,md}. The scores are those of so many epochs and steps; they say that it works, not how well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from mlpipe.cli import main as mlpipe
from mlpipe.commands.tables import number

HERE = Path(__file__).resolve().parent
#: Raw file and target of each table.
TABLES = {
    "adult": ("adult/adult.data", "last"),
    "bike_sharing": ("bike_sharing/Bike-Sharing-Dataset.zip::hour.csv", "cnt"),
    "california_housing": ("california_housing/cal_housing_full.data.gz", "medianHouseValue"),
    "churn_modelling": ("churn_modelling/Churn_Modelling.csv", "Exited"),
    "diamonds": ("diamonds/diamonds.csv.gz", "price"),
    "kddcup99_10pct": ("kddcup99_10pct/kddcup.data_10_percent.gz", "last"),
    "king_county": ("king_county/kc_house_data.csv.gz", "price"),
    "letter": ("letter/letter-recognition.data", "first"),
    "online_shoppers": ("online_shoppers/online_shoppers_intention.csv.gz", "Revenue"),
    "telco_churn": ("telco_churn/Telco-Customer-Churn.csv", "Churn"),
    "titanic": ("titanic/titanic.csv", "survived"),
}


def run(name: str, folder: Path, work: Path, overrides: list[str]) -> dict[str, Any]:
    """Init, fit and predict one table by the command line.

    Raises:
        SystemExit: A command failed.
    """
    file, target = TABLES[name]
    source, config, runs, scored = (str(p) for p in (folder / file, work / "c.yaml", work / "run", work / "s.parquet"))
    for words in (
        ["init", source, "--target", target, "--out", config],
        ["fit", "--config", config, "--run", runs, *overrides],
        ["predict", "--bundle", f"{runs}/bundle", "--data", source, "--out", scored],
    ):
        code = mlpipe([*words, "--quiet"])
        if code:
            sys.exit(f"{name}: `mlpipe {words[0]}` ended with exit code {code}.")
    metrics = json.loads(Path(runs, "metrics.json").read_text())
    predictions = pl.read_parquet(scored)
    task = json.loads(Path(runs, "schema.json").read_text())["task"]["kind"]
    return {
        "task": task,
        "rows": len(predictions),
        "without_prediction": predictions["prediction"].null_count(),
        "train_seconds": metrics["train_seconds"],
        "test": metrics["test"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--limit-train-batches", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    overrides = [
        f"--trainer.max_epochs={args.epochs}",
        f"--trainer.limit_train_batches={args.limit_train_batches}",
        "--tracking.enabled=false",
    ]
    records: dict[str, dict[str, Any]] = {}
    for name in args.only:
        if not (args.data / TABLES[name][0].partition("::")[0]).is_file():
            print(f"{name}: left out, {TABLES[name][0]} is not there")
            continue
        with tempfile.TemporaryDirectory() as work:
            records[name] = run(name, args.data.resolve(), Path(work), overrides)
    lines = [
        "| table | task | rows predicted | without a prediction | accuracy or R2 on test |",
        "|---|---|---|---|---|",
    ]
    for name, r in records.items():
        score = r["test"].get("accuracy", r["test"].get("r2"))
        lines.append(f"| {name} | {r['task']} | {r['rows']:,} | {r['without_prediction']} | {number(score)} |")
    print("\n".join(lines))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "every_table.json").write_text(json.dumps(records, indent=2) + "\n")
    (args.results / "every_table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "120")
    main()
