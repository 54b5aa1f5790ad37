"""Ours beside other libraries' defaults on public tables, on the same rows.

    python benchmarks/accuracy.py --data FOLDER [--fetch] [--unseen] [--tables adult churn]
        [--contestants mlpipe lightgbm] [--preset default] [--seeds 3] [--again]

FOLDER holds the tables as published, a folder each; `benchmarks/tables.py` names them and says how they are cut. Where
one is not there it is told and left out; `--fetch` downloads those with a known address first. With `--unseen` the
tables are those of `benchmarks/unseen_tables.py`, which nobody looked at when the recipe was chosen. Ours is trained by
the shipped defaults, or by a preset of `configs/presets`, nothing set by table, once for each seed; the baselines are
those of `mlpipe baselines` (`pip install 'mlpipe[baselines]'`).

Results accumulate in results/accuracy.json: what is there is not measured again, unless `--again` asks for it or our
recipe is another by now. Ctrl-C keeps what is complete. results/accuracy.md is written from all records after each
table; `accuracy_report.py` says what its columns are. Of unseen tables it is results/unseen/accuracy.json and
results/unseen.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import polars as pl
from accuracy_report import DEFAULT, as_markdown
from lightning.pytorch.callbacks import Callback
from records import Floats, Key, Record, Store, machine, row_losses
from tables import TABLES, PublicTable
from unseen_tables import UNSEEN

from mlpipe.data.config import default_batch_size
from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import Table, load_table
from mlpipe.errors import MlpipeError
from mlpipe.research.baselines.registry import BASELINES, absent, absent_sentence
from mlpipe.research.baselines.run import OURS, iter_baselines
from mlpipe.schema import TaskKind
from mlpipe.training.loop import train
from mlpipe.training.parser import parse_config

HERE = Path(__file__).resolve().parent
PRESETS = HERE.parent / "configs" / "presets"
CONTESTANTS = (OURS, *BASELINES)
USUAL = (OURS, "linear", "hist_gradient_boosting", "lightgbm", "xgboost", "catboost", "realmlp", "tabm")
PARTS = ("train", "validation", "test")
#: Keys of the model that one kind of network does not look at.
NOT_OF_THE_MLP = (
    *("num_heads", "mlp_ratio", "rope", "rope_base", "readout_tokens", "readout", "head", "additive", "qk_norm"),
    "first_norm",
)
OF_MEMBERS = ("members", "member_width")


class Curve(Callback):
    """A metric of the validation rows at the end of each epoch, and the seconds that it took to get there.

    Args:
        metric: Its name.
        started: `time.perf_counter()` when the work began.
    """

    def __init__(self, metric: str, started: float) -> None:
        self._metric = metric
        self._started = started
        self.points: list[tuple[float, float]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics[f"val/{self._metric}"])
        self.points.append((round(time.perf_counter() - self._started, 2), score))


def presets() -> list[str]:
    """The names that `--preset` takes."""
    return sorted({DEFAULT, *(path.stem for path in PRESETS.glob("*.yaml"))})


def words(preset: str) -> list[str]:
    """What a preset is on the command line; the defaults are no file, unless there is one."""
    path = PRESETS / f"{preset}.yaml"
    return ["--config", str(path)] if preset != DEFAULT or path.is_file() else []


def recipe(preset: str, outputs: int, train_rows: int) -> str:
    """A digest of all that decides how such a table is trained: another one, and records are outdated.

    Defaults are in it, and so is what adapts to outputs and rows; what the network at hand does not have is not.
    """
    config = parse_config([*words(preset), "--data.path=table.csv", "--data.target=y"])
    batch_size = config.values["data"]["batch_size"]
    model = config.model.for_rows(train_rows).for_outputs(outputs)
    training = config.training.at_batch_size(batch_size or default_batch_size(train_rows))
    unused = NOT_OF_THE_MLP if model.trunk == "mlp" else OF_MEMBERS if model.head == "linear" else ()
    # Of a network without that part it says nothing, as before there was one.
    unused = unused if model.additive else (*unused, "additive")
    shape = {key: value for key, value in model.to_dict().items() if key not in unused}
    rates = {"lr": training.lr, "muon_lr": training.muon_lr}
    parts = {group: config.values[group] for group in ("features", "trainer")}
    parts["training"] = {**config.values["training"], **rates}
    text = json.dumps({**parts, "model": shape, "batch_size": batch_size}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def public_table(name: str) -> PublicTable:
    """Of those that were looked at, or of the others."""
    return TABLES[name] if name in TABLES else UNSEEN[name]


def current_recipe(key: Key) -> str:
    """Of one of ours, as it would be trained now."""
    table = public_table(key.table)
    return recipe(key.preset, table.outputs, table.train_rows)


def fit_once(folder: Path, target: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train on the three files of a folder, by the defaults and what overrides them.

    Returns:
        Metrics by part (`validation`, `test`), `seconds`, `epochs`, `curve`, and `outputs` of the test rows.
    """
    files = [f"--data.{part}={folder / f'{part}.csv'}" for part in PARTS]
    config = parse_config([*overrides, *files, f"--data.target={target}", f"--seed_everything={seed}"])
    table = load_table(config.data)
    regression = table.schema.task.kind is TaskKind.REGRESSION
    started = time.perf_counter()
    data = TabularDataModule(
        table.schema, table.frames, config.features, batch_size=config.data.batch_size, seed=config.seed
    )
    curve = Curve("rmse" if regression else "accuracy", started)
    trainer = {
        **config.trainer,
        "enable_progress_bar": sys.stderr.isatty(),
        "enable_model_summary": False,
        "callbacks": [*(config.trainer.get("callbacks") or []), curve],
    }
    with tempfile.TemporaryDirectory() as checkpoints:
        trained = train(data, config.model, config.training, trainer, checkpoints=Path(checkpoints), seed=config.seed)
    if trained.interrupted:
        raise KeyboardInterrupt  # half a training is no score
    seconds = time.perf_counter() - started
    outputs: Any = trained.outputs["test"]
    if regression:
        outputs = data.preprocessor.target_.in_units(outputs)
    return {
        **trained.metrics,
        "seconds": seconds,
        "epochs": trained.epochs,
        "curve": tuple(curve.points),
        "outputs": outputs,
    }


def true_values(table: Table) -> Floats:
    """The test rows' targets: values, or the numbers of their classes."""
    frame, task = table.frames["test"], table.schema.task
    values = frame[task.target[0]]
    if task.kind is TaskKind.REGRESSION:
        numbers: Floats = values.cast(pl.Float64).to_numpy()
        return numbers
    places = {label: index for index, label in enumerate(task.classes)}
    return np.asarray([places[value] for value in values.to_list()], dtype=np.float64)


def measure(key: Key, folder: Path, table: Table) -> tuple[Record, Floats] | None:
    """Train one model; its record and its outputs for the test rows, or None if it cannot be trained here."""
    if key.contestant == OURS:
        run = fit_once(folder, public_table(key.table).target, key.seed, words(key.preset))
        record = Record(
            key,
            current_recipe(key),
            run["validation"],
            run["test"],
            run["seconds"],
            run["curve"],
            run["epochs"],
            machine(),
        )
        return record, run["outputs"]
    library = BASELINES[key.contestant].library or "scikit-learn"
    for result in iter_baselines(table.schema, table.frames, [key.contestant], key.seed):
        version = f"{library} {metadata.version(library)}"
        metrics = result.metrics
        record = Record(key, version, metrics["validation"], metrics["test"], result.train_seconds, machine=machine())
        return record, result.outputs["test"]
    return None


def wanted(args: argparse.Namespace, store: Store, table: str) -> Iterator[Key]:
    """The models that are still to be trained on a table."""
    records = store.records
    for contestant in args.contestants:
        ours = contestant == OURS
        for seed in range(args.seeds if ours else args.baseline_seeds):
            key = Key(table, contestant, args.preset if ours else "", seed)
            outdated = ours and key in records and records[key].recipe != current_recipe(key)
            if args.again or outdated or key not in records:
                yield key


def one_table(name: str, args: argparse.Namespace, store: Store) -> None:
    """Measure what is not there yet on one table; say so if its files are not there."""
    keys = list(wanted(args, store, name))
    if not keys:
        print(f"{name}: all there")
        return
    public = public_table(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            parts = public.parts(args.data)
        except FileNotFoundError as error:
            print(f"{name}: left out, {error.filename} is not there")
            return
        except ValueError as error:  # another file than the one that was published
            print(f"{name}: left out, {error}")
            return
        for part, frame in parts.items():
            frame.write_csv(folder / f"{part}.csv")
        files = [f"--data.{part}={folder / f'{part}.csv'}" for part in PARTS]
        table = load_table(parse_config([*files, f"--data.target={public.target}"]).data)
        for key in keys:
            measured = measure(key, folder, table)
            if measured is None:
                print(f"{key}: left out", flush=True)
                continue
            record, outputs = measured
            store.add(record, row_losses(public.metric, outputs, true_values(table)))
            scores = f"{record.test[public.metric]:.4f} (validation {record.validation[public.metric]:.4f})"
            print(f"{key}: {public.metric} {scores}, {record.seconds:.1f} s", flush=True)


def write_report(results: Path, store: Store, unseen: bool) -> str:
    """All records as Markdown, into accuracy.md or unseen.md."""
    report = as_markdown(store, current_recipe, UNSEEN if unseen else TABLES)
    (results / ("unseen.md" if unseen else "accuracy.md")).write_text(report, encoding="utf-8")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--fetch", action="store_true", help="download the tables that are not in it")
    parser.add_argument("--unseen", action="store_true", help="the tables that were not looked at")
    parser.add_argument("--tables", nargs="+", help="some of them")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(USUAL))
    parser.add_argument("--preset", choices=presets(), default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=3, help="how many models of ours to train")
    parser.add_argument("--baseline-seeds", type=int, default=1, help="how many of each other")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    names = list(UNSEEN if args.unseen else TABLES)
    args.tables = args.tables or names
    if unknown := [name for name in args.tables if name not in names]:
        parser.error(f"argument --tables: {', '.join(unknown)}: not among {', '.join(names)}")
    if args.fetch:
        from fetch import fetch_tables  # needs `pip install 'mlpipe[bench]'`

        fetch_tables(args.data, args.tables)
    missing = absent(name for name in args.contestants if name != OURS)
    if missing:
        print(absent_sentence(missing), file=sys.stderr)
        args.contestants = [name for name in args.contestants if name not in missing]
    store = Store(args.results / "unseen" if args.unseen else args.results)
    code = 0
    try:
        for name in args.tables:
            one_table(name, args, store)
            write_report(args.results, store, args.unseen)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on with what is missing.", file=sys.stderr)
        code = 130
    except MlpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    print(write_report(args.results, store, args.unseen))
    return code


if __name__ == "__main__":
    sys.exit(main())
