"""The backends of a bundle beside torch, without a server: preprocessed rows in, answers out, on one thread.

    python benchmarks/serving_backends.py --bundle B --data flights.parquet [--backends onnx int8 auto] [--rounds 15]

`benchmarks/serving.py` measures the same and writes it down. In each round every backend has its turn with the same
rows, in an order that moves on; what counts is the ratio within a round, so that a machine that others use too slows
down both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from mlpipe.arrays import Arrays
from mlpipe.bundle.predictor import EnsemblePredictor, ModelPredictor, Predictor

SIZES = (1, 8, 64, 512)  # rows
TURN_SECONDS = 0.1


def compare(bundle: Path, rows: pl.DataFrame, backends: Sequence[str], rounds: int) -> dict[str, Any]:
    """Milliseconds and how many times as fast as torch, by backend and rows; medians, and the range over the rounds."""
    torch.set_num_threads(1)  # before the backends are opened: they take as many
    names = list(dict.fromkeys(["torch", *backends]))
    models = {name: models_of(Predictor.load(bundle, name)) for name in names}
    found: dict[str, Any] = {name: {} for name in names}
    for size in SIZES:
        batch = rows.head(size)
        arrays = [model.preprocessor.transform(batch) for model in models["torch"]]
        calls = {name: how_often(models[name], arrays) for name in names}
        taken: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                taken[name].append(seconds(models[name], arrays, calls[name]))
        for name in names:
            ratios = [ours / theirs for ours, theirs in zip(taken["torch"], taken[name], strict=True)]
            found[name][str(size)] = {
                "ms": 1e3 * statistics.median(taken[name]),
                "ratio": statistics.median(ratios),
                "lowest_ratio": min(ratios),
                "highest_ratio": max(ratios),
            }
    return found


def models_of(predictor: Predictor) -> list[ModelPredictor]:
    members = predictor.members if isinstance(predictor, EnsemblePredictor) else (predictor,)
    return [model for model in members if isinstance(model, ModelPredictor)]


def how_often(models: Sequence[ModelPredictor], arrays: Sequence[Arrays]) -> int:
    """Calls that fill a turn, once the first ones are over."""
    seconds(models, arrays, 3)
    return max(1, round(TURN_SECONDS / seconds(models, arrays, 3)))


def seconds(models: Sequence[ModelPredictor], arrays: Sequence[Arrays], calls: int) -> float:
    """Of one call, on average."""
    start = time.perf_counter()
    for _ in range(calls):
        for model, own in zip(models, arrays, strict=True):
            model.predict_arrays(own)
    return (time.perf_counter() - start) / calls


def table(found: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    heads = [f"{size} row{'' if size == 1 else 's'}" for size in SIZES]
    lines = [f"| backend | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, sizes in found.items():
        cells = []
        for size in SIZES:
            one = sizes[str(size)]
            spread = f"{one['lowest_ratio']:.2f} to {one['highest_ratio']:.2f}"
            cells.append(f"{one['ms']:.2f} ms" + ("" if name == "torch" else f", {one['ratio']:.2f} × ({spread})"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_rows(data: Path, count: int = 2_048) -> pl.DataFrame:
    """Rows of a table, the same ones each time."""
    frame = pl.read_parquet(data) if data.suffix == ".parquet" else pl.read_csv(data)
    return frame.sample(min(frame.height, count), seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a table with the bundle's columns")
    parser.add_argument("--backends", nargs="+", default=["onnx", "int8", "auto"])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print(table(compare(args.bundle, read_rows(args.data), args.backends, args.rounds)))


if __name__ == "__main__":
    main()
