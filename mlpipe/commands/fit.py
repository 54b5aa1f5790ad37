"""`mlpipe fit`: from a config to a run directory with a bundle in it.

The whole job in the order in which it happens; each step is a call into the part that owns it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from mlpipe.bundle.export import export_run
from mlpipe.commands.arguments import build_parsers
from mlpipe.commands.tables import print_metrics, print_parts
from mlpipe.data.config import DataConfig
from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import Part, Table, load_table
from mlpipe.errors import ConfigError
from mlpipe.features.rows import json_row
from mlpipe.logs import log_execution_time
from mlpipe.research.plots import save_run_plots
from mlpipe.training.callbacks import EpochLog
from mlpipe.training.csvlog import MetricsCSV
from mlpipe.training.environment import environment
from mlpipe.training.loop import Trained, train
from mlpipe.training.parser import RunConfig, parse_config
from mlpipe.training.rundir import RunDirectory, write_json, write_text
from mlpipe.training.tracking import MlflowTracker

logger = logging.getLogger(__name__)

INTERRUPTED = 130
RUNS = Path("runs")


def run(args: argparse.Namespace) -> int:
    """Train; see `mlpipe fit --help`.

    Returns:
        0, or 130 if Ctrl-C cut the training short: the run is complete all the same, with the best weights so far.
    """
    if {"-h", "--help"} & set(args.rest):
        build_parsers()[1]["fit"].print_help()  # our own options, above the config's
    config = parse_config(_with_saved_config(args))
    directory, trained = fit(
        config, run=args.run, resume=args.resume, progress=wants_progress_bar(args), tables=args.log != "json"
    )
    if args.log == "json":
        record = {"run": str(directory.path), "bundle": str(directory.bundle), "metrics": trained.metrics}
        print(json.dumps({**record, "interrupted": trained.interrupted}))
        return INTERRUPTED if trained.interrupted else 0
    print_metrics(trained.metrics)
    print(f"\nRun:     {directory.path}\nBundle:  {directory.bundle}\nServe:   mlpipe serve {directory.bundle}")
    if trained.interrupted:
        print(f"Training was interrupted; go on with: mlpipe fit --run {directory.path} --resume")
        return INTERRUPTED
    return 0


def fit(
    config: RunConfig, *, run: str | None = None, resume: bool = False, progress: bool = True, tables: bool = True
) -> tuple[RunDirectory, Trained]:
    """Do the whole job.

    Args:
        config: The parsed config.
        run: The run directory; None: a new one below `runs/`.
        resume: Go on with that run.
        progress: Show a progress bar; otherwise a line per epoch is logged.
        tables: Print the parts of the split.

    Raises:
        ConfigError: The config does not fit the data, or the run directory is taken.
        DataError: The data are not what they have to be.
        TrainingError: The loss is not finite.
    """
    RunDirectory.check(run, resume=resume)
    with log_execution_time("read the table", logger):
        table = load_table(config.data)
    for sentence in table.warnings:
        logger.warning(sentence)
    if tables:
        print_parts(table.balance)
    data = TabularDataModule(
        table.schema,
        table.frames,
        config.features,
        batch_size=config.data.batch_size,
        eval_batch_size=config.data.eval_batch_size,
        seed=config.seed,
    )
    with log_execution_time("preprocess it", logger):
        data.setup()
    directory = RunDirectory.create(RUNS, config.tracking.experiment, path=run, resume=resume)
    values = resolved(config, table)
    _describe(directory, values, table, data, resume=resume)

    loggers: list[Any] = [MetricsCSV(directory.metrics_csv, resume=resume)]
    tracker = MlflowTracker(config.tracking, directory, RUNS, resume=resume) if config.tracking.enabled else None
    if tracker is not None:
        tracker.log_hyperparams(values)
        loggers.append(tracker)
    trainer = dict(config.trainer)
    for name in ("enable_progress_bar", "enable_model_summary"):
        if trainer.get(name) is None:
            trainer[name] = progress
    given = trainer.get("callbacks") or []
    trainer["callbacks"] = [*(given if isinstance(given, list) else [given]), *([] if progress else [EpochLog()])]
    try:
        trained = train(
            data,
            config.model,
            config.training,
            trainer,
            checkpoints=directory.checkpoints,
            seed=config.seed,
            loggers=loggers,
            resume=resume and directory.last_checkpoint.is_file(),
        )
        _finish(directory, table, data, trained)
    except BaseException as error:
        if tracker is not None:
            tracker.close("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        if isinstance(error, ConfigError) and not resume:
            directory.discard_if_untrained()
        raise
    if tracker is not None:
        tracker.log_metrics({f"{part}/{k}": v for part, values in trained.metrics.items() for k, v in values.items()})
        tracker.log_artifacts(directory)
        tracker.close("KILLED" if trained.interrupted else "FINISHED")
    return directory, trained


def _describe(
    directory: RunDirectory, values: dict[str, Any], table: Table, data: TabularDataModule, *, resume: bool
) -> None:
    """Write what the run is made of, before the first step."""
    preprocess = data.preprocessor.to_dict()
    if resume and directory.preprocess.is_file() and json.loads(directory.preprocess.read_text()) != preprocess:
        raise ConfigError(
            f"{directory.path} cannot be resumed: the data or their preprocessing are not those that the run began "
            "with; start a new run."
        )
    write_text(directory.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    write_json(directory.env, environment(table.files))
    write_json(directory.schema, table.schema.to_dict())
    write_json(directory.preprocess, preprocess)
    write_json(directory.sample_row, json_row(table.frames["validation"], table.schema))


def _finish(directory: RunDirectory, table: Table, data: TabularDataModule, trained: Trained) -> None:
    """Write what has come of the run: metrics, bundle, plots."""
    write_json(directory.calibration, {"temperature": trained.temperature})
    write_json(directory.metrics_json, {**trained.metrics, "train_seconds": trained.train_seconds})
    export_run(directory.path, directory.bundle, overwrite=True)
    part: Part = "test" if "test" in trained.outputs else "validation"
    save_run_plots(directory, table.schema.task, trained.outputs[part], data, part, trained.uncalibrated[part])


def _with_saved_config(args: argparse.Namespace) -> list[str]:
    """The words for the config's parser; a resumed run brings its own config, under what is given now."""
    if not args.resume or args.run is None:
        return list(args.rest)
    saved = RunDirectory(Path(args.run)).config
    return ["--config", str(saved), *args.rest] if saved.is_file() else list(args.rest)


def resolved(config: RunConfig, table: Table) -> dict[str, Any]:
    """The config with absolute paths and with what was detected of the files' format."""
    values = config.values
    return {**values, "data": {**values["data"], **_absolute_paths(config.data), "read": asdict(table.read)}}


def _absolute_paths(data: DataConfig) -> dict[str, str]:
    """The config's files by absolute path, so that the run can be evaluated from any folder; URLs stay."""
    paths = {name: getattr(data, name) for name in ("path", "train", "validation", "test")}
    return {name: p if "://" in p else str(Path(p).absolute()) for name, p in paths.items() if p is not None}


def wants_progress_bar(args: argparse.Namespace) -> bool:
    """Only somebody who looks at a terminal does."""
    return args.log == "rich" and not args.quiet and sys.stderr.isatty()
