"""Scores of the shipped default config on tables with published splits.

    python benchmarks/accuracy.py --data FOLDER [--sets adult california] [--seeds 0 1 2] [dotted overrides]

FOLDER holds the tables as published, a folder each; `benchmarks/tables.py` names them and says how they are cut.
Writes results/accuracy.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tables import TABLES

from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import load_table
from mlpipe.training.loop import train
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent


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
    parser.add_argument("--sets", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args, overrides = parser.parse_known_args()
    results: dict[str, Any] = {}
    for name in args.sets:
        with tempfile.TemporaryDirectory() as folder:
            try:
                parts = TABLES[name].parts(args.data)
            except FileNotFoundError as error:
                print(f"{name}: left out, {error.filename} is not there")
                continue
            for part, frame in parts.items():
                frame.write_csv(Path(folder) / f"{part}.csv")
            runs = []
            target, metric = TABLES[name].target, TABLES[name].metric
            for seed in args.seeds:
                run = fit_once(Path(folder), target, seed, overrides)
                runs.append(run)
                print(
                    f"{name} seed {seed}: test {metric} {run['test'][metric]:.4f} (validation "
                    f"{run['validation'][metric]:.4f}), {run['epochs']} epochs, {run['seconds']:.0f} s",
                    flush=True,
                )
            results[name] = {"runs": runs, "overrides": overrides}
    lines = ["| table | metric | test, mean of seeds | spread | training seconds, median |", "|---|---|---|---|---|"]
    for name, result in results.items():
        metric = TABLES[name].metric
        values = [run["test"][metric] for run in result["runs"]]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        seconds = statistics.median(run["seconds"] for run in result["runs"])
        lines.append(f"| {name} | {metric} | {statistics.mean(values):.4f} | {spread:.4f} | {seconds:.0f} |")
    print("\n".join(lines))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "accuracy.json").write_text(json.dumps(results, indent=2) + "\n")
    (args.results / "accuracy.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
