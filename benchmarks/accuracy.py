"""The shipped default config beside other libraries' defaults on public tables, on the same rows.

    python benchmarks/accuracy.py --data FOLDER [--sets adult california] [--seeds 0 1 2] [--baselines lightgbm ...]
        [dotted overrides]

FOLDER holds the tables as published, a folder each; `benchmarks/tables.py` names them and says how they are cut. Ours
is trained once for each seed; the baselines of `mlpipe baselines` (`pip install 'mlpipe[baselines]'`) once, as trees
differ little by seed. Compared are, on the test rows: the mean over the seeds; wins and losses by a paired bootstrap
over test rows between the model of our first seed and the baseline (a tie where zero lies within 95 % of the
differences); the normalised score, 1 for the best of all models on a table and 0 for the median one or worse; and the
mean rank. Seconds are those of the fit on this machine, features of ours included. Writes results/accuracy.{json,md};
a table that is not there is told and left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from tables import PUBLISHED, TABLES

from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import Table, load_table
from mlpipe.research.baselines.registry import BASELINES
from mlpipe.research.baselines.run import iter_baselines
from mlpipe.schema import TaskKind
from mlpipe.training.loop import train
from mlpipe.training.metrics import HIGHER_IS_BETTER
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent
OURS = "mlpipe"
DEFAULT_BASELINES = ("linear", "hist_gradient_boosting", "lightgbm", "xgboost", "catboost")
RESAMPLES = 1_000

Floats = npt.NDArray[np.floating[Any]]


def fit_once(folder: Path, target: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train the default config on the three files of a folder; `outputs` are those of the test rows."""
    files = [f"--data.{part}={folder / f'{part}.csv'}" for part in ("train", "validation", "test")]
    config = parse_config([*files, f"--data.target={target}", f"--seed_everything={seed}", *overrides])
    table = load_table(config.data)
    started = time.perf_counter()
    data = TabularDataModule(
        table.schema, table.frames, config.features, batch_size=config.data.batch_size, seed=config.seed
    )
    trainer = {**config.trainer, "enable_progress_bar": sys.stderr.isatty(), "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as checkpoints:
        trained = train(data, config.model, config.training, trainer, checkpoints=Path(checkpoints), seed=config.seed)
    if trained.interrupted:
        raise SystemExit(130)  # half a training is no score
    seconds = time.perf_counter() - started
    outputs: Any = trained.outputs["test"]
    if table.schema.task.kind is TaskKind.REGRESSION:
        outputs = data.preprocessor.target_.in_units(outputs)
    record = {"seed": seed, "seconds": seconds, "epochs": trained.epochs, **trained.metrics}
    return {**record, "outputs": outputs, "truth": _truth(table), "table": table}


def _truth(table: Table) -> Floats:
    frame, task = table.frames["test"], table.schema.task
    values = frame[task.target[0]]
    if task.kind is TaskKind.REGRESSION:
        numbers: Floats = values.cast(pl.Float64).to_numpy()
        return numbers
    places = {label: index for index, label in enumerate(task.classes)}
    return np.asarray([places[value] for value in values.to_list()], dtype=np.float64)


def row_losses(metric: str, outputs: Floats, truth: Floats) -> Floats:
    """Each test row's part in the metric: 0 or 1 for accuracy, the squared error for RMSE."""
    if metric == "rmse":
        squares: Floats = np.square(outputs.reshape(-1) - truth)
        return squares
    chosen = outputs.reshape(-1) > 0.5 if outputs.reshape(len(truth), -1).shape[1] == 1 else outputs.argmax(axis=1)
    wrong: Floats = np.not_equal(chosen, truth).astype(np.float64)
    return wrong


def verdict(ours: Floats, theirs: Floats) -> str:
    """`win`, `tie` or `loss` by a paired bootstrap over rows."""
    difference = theirs - ours
    random = np.random.default_rng(0)
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return "win" if low > 0 else "loss" if high < 0 else "tie"


def one_table(name: str, args: argparse.Namespace, overrides: list[str]) -> dict[str, Any] | None:
    """All models on one table, or None if its files are not there."""
    public = TABLES[name]
    metric = public.metric
    with tempfile.TemporaryDirectory() as folder:
        try:
            parts = public.parts(args.data)
        except FileNotFoundError as error:
            print(f"{name}: left out, {error.filename} is not there")
            return None
        for part, frame in parts.items():
            frame.write_csv(Path(folder) / f"{part}.csv")
        runs = []
        for seed in args.seeds:
            run = fit_once(Path(folder), public.target, seed, overrides)
            runs.append(run)
            scores = f"test {metric} {run['test'][metric]:.4f} (validation {run['validation'][metric]:.4f})"
            print(f"{name} seed {seed}: {scores}, {run['epochs']} epochs, {run['seconds']:.0f} s", flush=True)
    table, truth = runs[0]["table"], runs[0]["truth"]
    ours = row_losses(metric, runs[0]["outputs"], truth)
    plain = [{key: run[key] for key in ("seed", "seconds", "epochs", "validation", "test")} for run in runs]
    models: dict[str, Any] = {
        OURS: {
            "score": statistics.mean(run["test"][metric] for run in runs),
            "spread": statistics.stdev(run["test"][metric] for run in runs) if len(runs) > 1 else 0.0,
            "seconds": statistics.median(run["seconds"] for run in runs),
        }
    }
    for result in iter_baselines(table.schema, table.frames, args.baselines):
        models[result.name] = {
            "score": result.metrics["test"][metric],
            "seconds": result.train_seconds,
            "verdict": verdict(ours, row_losses(metric, result.outputs["test"], truth)),
        }
        shown = models[result.name]
        print(
            f"{name} {result.name}: {shown['score']:.4f}, ours: {shown['verdict']}, {shown['seconds']:.1f} s",
            flush=True,
        )
    return {"metric": metric, "runs": plain, "models": models, "overrides": overrides}


def ranks(scores: dict[str, float], metric: str) -> dict[str, float]:
    """1 for the best; equal scores share a rank."""
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    ordered = sorted(sign * score for score in scores.values())
    return {name: ordered.index(sign * s) + (ordered.count(sign * s) + 1) / 2 for name, s in scores.items()}


def normalised(scores: dict[str, float], metric: str) -> dict[str, float]:
    """1 for the best, 0 for the median or worse."""
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    values = {name: sign * score for name, score in scores.items()}
    best, middle = max(values.values()), statistics.median(values.values())
    return {
        name: max(0.0, (value - middle) / (best - middle)) if best > middle else 1.0 for name, value in values.items()
    }


def as_markdown(results: dict[str, Any]) -> str:
    """A line per table and, below, a line per model."""
    names = list(dict.fromkeys(name for result in results.values() for name in result["models"]))
    lines = [
        "| table | metric | " + " | ".join(names) + " | published | seconds of ours |",
        "|---" * (len(names) + 4) + "|",
    ]
    for table, result in results.items():
        scores = {name: model["score"] for name, model in result["models"].items()}
        best = min(ranks(scores, result["metric"]).values())
        cells = []
        for name in names:
            if name not in scores:
                cells.append("")
                continue
            text = f"{scores[name]:.4f}" if scores[name] < 100 else f"{scores[name]:.1f}"
            text = f"**{text}**" if ranks(scores, result["metric"])[name] == best else text
            if name == OURS:
                text += f" ± {result['models'][name]['spread']:.4f}"
            cells.append(text)
        seconds = result["models"][OURS]["seconds"]
        published = PUBLISHED.get(table, "")
        lines.append(f"| {table} | {result['metric']} | " + " | ".join(cells) + f" | {published} | {seconds:.0f} |")
    lines += [
        "",
        "| model | mean rank | normalised score | ours wins, ties, loses | seconds, median |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        shared = [result for result in results.values() if name in result["models"]]
        all_scores = [{n: m["score"] for n, m in result["models"].items()} for result in shared]
        rank = statistics.mean(ranks(s, r["metric"])[name] for s, r in zip(all_scores, shared, strict=True))
        score = statistics.mean(normalised(s, r["metric"])[name] for s, r in zip(all_scores, shared, strict=True))
        told = [result["models"][name].get("verdict") for result in shared]
        wins = "" if name == OURS else ", ".join(str(told.count(word)) for word in ("win", "tie", "loss"))
        seconds = statistics.median(result["models"][name]["seconds"] for result in shared)
        lines.append(f"| {name} | {rank:.2f} | {score:.2f} | {wins} | {seconds:.1f} |")
    seeds = sorted({len(result["runs"]) for result in results.values()})
    lines += ["", f"Ours: mean and standard deviation over {_listed(seeds)} seeds; the others once."]
    return "\n".join(lines) + "\n"


def _listed(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--baselines", nargs="*", choices=BASELINES, default=list(DEFAULT_BASELINES))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args, overrides = parser.parse_known_args()
    args.results.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name in args.sets:
        result = one_table(name, args, overrides)
        if result is not None:
            results[name] = result
            (args.results / "accuracy.json").write_text(json.dumps(results, indent=2) + "\n")
            (args.results / "accuracy.md").write_text(as_markdown(results))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
