"""One run, from a table that was read to a run directory with a bundle in it: what fit and cross-validation both do.

The whole job in the order in which it happens; each step is a call into the part that owns it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlpipe.bundle.export import export_run
from mlpipe.data.config import DataConfig
from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import Part, Source, Table
from mlpipe.errors import ConfigError
from mlpipe.features.rows import json_row
from mlpipe.files import write_whole
from mlpipe.logs import log_execution_time
from mlpipe.research.plots import save_run_plots
from mlpipe.training.callbacks import EpochLog
from mlpipe.training.configtext import dump_config
from mlpipe.training.csvlog import MetricsCSV
from mlpipe.training.environment import environment
from mlpipe.training.loop import Trained, check_run, train
from mlpipe.training.outcome import check_recipe
from mlpipe.training.parser import RunConfig
from mlpipe.training.ranks import Ranks, known_to_children
from mlpipe.training.rundir import RunDirectory, write_json, write_text
from mlpipe.training.tracking import MlflowTracker
from mlpipe.training.trainer_group import check_monitors, given_callbacks

logger = logging.getLogger(__name__)

RUNS = Path("runs")


def fit_table(
    config: RunConfig,
    table: Table,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    parent: MlflowTracker | None = None,
    ranks: Ranks | None = None,
) -> tuple[RunDirectory, Trained]:
    """Train on a table and write everything that a run leaves.

    Args:
        config: The parsed config.
        table: Read and split as the config says.
        run: The run directory; None: a new one below `runs/`.
        resume: Go on with that run, if it has begun.
        progress: Show a progress bar; otherwise a line per epoch is logged.
        parent: The MLflow run of which this one is a child.
        ranks: The processes that train it, if they are several; all but the first need `run`.

    Raises:
        ConfigError: The config does not fit the data, or the run directory is taken.
        DataError: The data are not what they have to be.
        TrainingError: The loss is not finite.
        SystemExit: As `train`.
    """
    ranks = ranks or Ranks()
    if ranks.is_first:
        RunDirectory.check(run, resume=resume)
    check_recipe(config.training, table.schema.task)
    check_monitors(config.trainer, config.training, table.schema.task.kind)
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
    values = resolved(config, table)
    last, config_before = _take_up(RunDirectory(Path(run)), data) if resume and run is not None else (None, None)
    check_run(data, config.model, config.training, config.trainer, last)
    if ranks.is_first:
        directory = RunDirectory.create(RUNS, config.tracking.experiment, path=run, resume=resume)
        _describe(directory, values, table, data)
    else:
        directory = RunDirectory(Path(str(run)))
    tracker = None
    try:
        loggers: list[Any] = [MetricsCSV(directory.metrics_csv, resume=resume)]
        if config.tracking.enabled:
            tracker = MlflowTracker(config.tracking, directory, RUNS, resume=resume, parent=parent)
            tracker.log_hyperparams(values)
            loggers.append(tracker)
        trainer = dict(config.trainer)
        for name in ("enable_progress_bar", "enable_model_summary"):
            if trainer.get(name) is None:
                trainer[name] = progress
        trainer["callbacks"] = [*given_callbacks(trainer), *([] if progress else [EpochLog()])]
        with known_to_children(directory.path):
            trained = train(
                data,
                config.model,
                config.training,
                trainer,
                checkpoints=directory.checkpoints,
                seed=config.seed,
                loggers=loggers,
                resume=last is not None,
            )
        _finish(directory, table, data, trained)
    except BaseException as error:
        if tracker is not None:
            tracker.close("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        if isinstance(error, ConfigError) and ranks.is_first:
            _undo(directory, config_before)
        raise
    if tracker is not None:
        tracker.log_metrics({f"{part}/{k}": v for part, values in trained.metrics.items() for k, v in values.items()})
        tracker.log_artifacts(directory)
        tracker.close("KILLED" if trained.interrupted else "FINISHED")
    return directory, trained


def resolved(config: RunConfig, table: Table | Source) -> dict[str, Any]:
    """The config with absolute paths and with what was detected of the files' format, as nested plain values."""
    values = config.values
    return {**values, "data": {**values["data"], **_absolute_paths(config.data), "read": asdict(table.read)}}


def _take_up(directory: RunDirectory, data: TabularDataModule) -> tuple[Path | None, bytes | None]:
    """What there is of a run that is to go on.

    Returns:
        Its last checkpoint, and the text of its config; None where it has not come so far.

    Raises:
        ConfigError: It began with other rows.
    """
    if directory.preprocess.is_file():
        before = json.loads(directory.preprocess.read_text(encoding="utf-8"))
        if before != data.preprocessor.to_dict():
            raise ConfigError(
                f"{directory.path} cannot be resumed: the data or their preprocessing are not those that the run began "
                "with; start a new run."
            )
    last = directory.last_checkpoint if directory.last_checkpoint.is_file() else None
    return last, directory.config.read_bytes() if directory.config.is_file() else None


def _undo(directory: RunDirectory, config: bytes | None) -> None:
    """Leave a run that Lightning has refused as it was: without a trace, or with the config that it had."""
    if config is None:
        directory.discard_if_untrained()
    else:
        write_whole(directory.config, config)


def _describe(directory: RunDirectory, values: dict[str, Any], table: Table, data: TabularDataModule) -> None:
    """Write what the run is made of, before the first step."""
    write_json(directory.preprocess, data.preprocessor.to_dict())  # the first file: by it the folder is known as a run
    write_text(directory.config, dump_config(values))
    write_json(directory.env, environment(table.files))
    write_json(directory.schema, table.schema.to_dict())
    write_json(directory.sample_row, json_row(table.frames["validation"], table.schema))


def _finish(directory: RunDirectory, table: Table, data: TabularDataModule, trained: Trained) -> None:
    """Write what has come of the run: metrics, bundle, plots."""
    write_json(directory.calibration, trained.calibration.to_dict())
    write_json(directory.statistics, trained.statistics.to_dict())
    unfinished = {"interrupted": True} if trained.interrupted else {}
    write_json(directory.metrics_json, {**trained.metrics, "train_seconds": trained.train_seconds, **unfinished})
    export_run(directory.path, directory.bundle, overwrite=True)
    part: Part = "test" if "test" in trained.outputs else "validation"
    save_run_plots(
        directory,
        table.schema.task,
        trained.outputs[part],
        data,
        part,
        trained.uncalibrated[part],
        trained.calibration.threshold,
    )


def _absolute_paths(data: DataConfig) -> dict[str, str]:
    """The config's files by absolute path, so that the run can be evaluated from any folder; URLs stay."""
    paths = {name: getattr(data, name) for name in ("path", "train", "validation", "test")}
    return {name: p if "://" in p else str(Path(p).absolute()) for name, p in paths.items() if p is not None}
