"""Cross-validation: a model for each fold, scored on the rows that it has not seen, and all of them averaged.

Notable:
- a fold is a run like any other: its `config.yaml` says which fold it is (`data.split.folds`, `fold`, `repeat`), so
  that it can be validated, tested, resumed and trained anew by itself;
- the held-out rows choose nothing: each fold stops early and calibrates on validation rows split off the others;
- a fold that is finished is never trained again: an interrupted cross-validation goes on with the fold in hand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mlpipe.bundle.export import export_run
from mlpipe.bundle.staging import check_free
from mlpipe.data.folds import all_folds, fold_method
from mlpipe.data.load import Source, read_source
from mlpipe.data.split import SplitConfig
from mlpipe.errors import ConfigError, MlpipeError
from mlpipe.logs import log_execution_time
from mlpipe.research.fitting import RUNS, fit_table, resolved
from mlpipe.research.outoffold import measure, refuse_own_names
from mlpipe.training.configtext import dump_config
from mlpipe.training.environment import environment
from mlpipe.training.outcome import check_recipe
from mlpipe.training.parser import RunConfig, config_from_file
from mlpipe.training.ranks import find_ranks
from mlpipe.training.rundir import RunDirectory, refuse_file, unique_name, write_json, write_text
from mlpipe.training.tracking import MlflowTracker
from mlpipe.training.trainer_group import check_monitors

logger = logging.getLogger(__name__)

DEFAULT_FOLDS = 5
#: The groups of a config that a resumed cross-validation keeps; the others say where and how fast it runs.
_KEPT = ("data", "features", "model", "training", "seed_everything")


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        name: Of its run directory.
        split: Which fold of which cut it is, and how the table is cut.
        rows: How many rows are held out.
    """

    name: str
    split: SplitConfig
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """As `folds.json` lists it."""
        return {"run": self.name, "repeat": self.split.repeat, "fold": self.split.fold, "rows": self.rows}


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation has come to.

    Attributes:
        directory: Its folder, with a run directory for each fold.
        metrics: What `metrics.json` holds; empty if it was interrupted.
        bundle: The averaged models, if that was asked for.
        interrupted: Whether Ctrl-C (or SIGTERM) cut a fold short; those before it are finished.
    """

    directory: RunDirectory
    metrics: Mapping[str, Any]
    bundle: Path | None = None
    interrupted: bool = False


def cross_validate(
    config: RunConfig,
    *,
    folds: int | None = None,
    repeats: int | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    average: bool = False,
    bundle: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> CrossValidation:
    """Train a model for each fold and see how well it does on the rows that were held out from it.

    Args:
        config: As for a single run; `data.split` says by which method folds are cut, and the share of the other rows
            that is for validation.
        folds: How many; None: as `data.split.folds` says, or 5.
        repeats: How often the table is cut anew; None: once.
        run: The folder for all of it; None: a new one below `runs/`.
        resume: Go on with the cross-validation in that folder, if it has begun.
        average: Write the average of the fold models as a bundle, into that folder.
        bundle: Write it there instead.
        overwrite: Replace a bundle that is there; anything else is never replaced.
        progress: Show a progress bar for each fold; otherwise a line per epoch is logged.

    Raises:
        ConfigError: The config does not fit the data, the folder is taken, or what is resumed was another thing.
        DataError: The data are not what they have to be, or too few for so many folds.
        BundleError: There is a bundle, or a folder of something else, at `bundle`.
        TrainingError: The loss is not finite.
    """
    if find_ranks(_on_one_device(config).trainer).world_size > 1:
        raise ConfigError("Folds are trained one after another, on one device: leave `trainer.devices` out, or say 1.")
    RunDirectory.check(run, resume=resume, cross_validation=True)
    if bundle is not None:
        refuse_file(Path(bundle), "--bundle")
        check_free(Path(bundle), overwrite=overwrite)
    directory = RunDirectory(Path(run) if run is not None else RUNS / config.tracking.experiment / unique_name())
    number, repeats = _numbers(directory, config, folds, repeats)
    split = replace(config.data.split, folds=number, fold=0, repeat=0)
    with log_execution_time("read the table", logger):
        source = read_source(config.data)
    refuse_own_names(source.schema)
    check_recipe(config.training, source.schema.task)
    check_monitors(config.trainer, config.training, source.schema.task.kind)
    plan = _plan(source, split, repeats)
    tracker = MlflowTracker(config.tracking, directory, RUNS, resume=resume) if config.tracking.enabled else None
    values = _begin(directory, config, source, plan)
    if tracker is not None:
        tracker.log_hyperparams({**values, "crossval": {"folds": number, "repeats": repeats}})
    job = _Job(directory, source, plan, config.seed, resume, progress, tracker)
    try:
        if not all(job.finish(index) for index in range(len(plan))):
            if tracker is not None:
                tracker.close("KILLED")
            return CrossValidation(directory, {}, interrupted=True)
        metrics = measure(directory, source, {fold.name: fold.split for fold in plan})
        out = Path(bundle) if bundle is not None else directory.bundle if average else None
        if out is not None:
            export_run(directory.path, out, overwrite=overwrite or bundle is None)
    except BaseException as error:
        if tracker is not None:
            tracker.close("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        if isinstance(error, MlpipeError) and not resume and not (directory.path / plan[0].name).exists():
            directory.discard_if_untrained()
        raise
    if tracker is not None:
        _track(tracker, metrics)
        tracker.log_artifacts(directory)
        tracker.close()
    return CrossValidation(directory, metrics, out)


def _on_one_device(config: RunConfig) -> RunConfig:
    """The config without the wish for all devices there are: each would run the whole cross-validation."""
    free = config.trainer.get("devices") in (None, "auto")
    return replace(config, trainer={**config.trainer, "devices": 1}) if free else config


def _numbers(directory: RunDirectory, config: RunConfig, folds: int | None, repeats: int | None) -> tuple[int, int]:
    """How many folds, and how often: as asked for, and as it began."""
    if not directory.is_cross_validation:
        return folds or config.data.split.folds or DEFAULT_FOLDS, repeats or 1
    begun = json.loads(directory.folds.read_bytes())
    for name, asked in (("folds", folds), ("repeats", repeats)):
        if asked not in (None, begun[name]):
            raise ConfigError(
                f"{directory.path} began with `--{name} {begun[name]}`, so it cannot go on with `--{name} {asked}`; "
                "start a new one with another `--run`."
            )
    return begun["folds"], begun["repeats"]


def _plan(source: Source, split: SplitConfig, repeats: int) -> list[Fold]:
    """All folds; each is cut once here, so that what cannot be cut, or does not count, is known before the first."""
    return [
        Fold(
            f"repeat-{fold.repeat}-fold-{fold.fold}" if repeats > 1 else f"fold-{fold.fold}",
            fold,
            len(source.positions(fold).test),
        )
        for fold in all_folds(split, repeats)
    ]


def _begin(directory: RunDirectory, config: RunConfig, source: Source, plan: list[Fold]) -> dict[str, Any]:
    """Write what the cross-validation is made of, before the first step; returns the config."""
    values = resolved(config, source)
    single = {**values["data"]["split"], "folds": None, "fold": 0, "repeat": 0}
    text = dump_config({**values, "data": {**values["data"], "split": single}})
    state = environment(source.files)
    if directory.is_cross_validation:
        _refuse_another(directory, yaml.safe_load(text), state)
    split = plan[0].split
    record = {
        "folds": split.folds,
        "repeats": plan[-1].split.repeat + 1,
        "method": fold_method(source.schema, split),
        "runs": [fold.to_dict() for fold in plan],
    }
    write_json(directory.folds, record)  # the first file: it says what kind of folder this is
    write_text(directory.config, text)
    write_json(directory.env, state)
    write_json(directory.schema, source.schema.to_dict())
    return values


def _refuse_another(directory: RunDirectory, values: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Refuse to go on with another config or other data than finished folds were made with."""
    if directory.config.is_file():
        begun = yaml.safe_load(directory.config.read_text(encoding="utf-8"))
        for group in _KEPT:
            if begun[group] != values[group]:
                raise ConfigError(
                    f"{directory.path} cannot be resumed with another `{group}` than it began with: all folds have "
                    "to be made alike; start a new one with another `--run`."
                )
    if directory.env.is_file():
        before, now = ([file.get("sha256") for file in kept["data"]] for kept in (_read(directory.env), state))
        if before != now:
            raise ConfigError(
                f"{directory.path} cannot be resumed: the data are not those that it began with; start a new one with "
                "another `--run`."
            )


@dataclass(frozen=True)
class _Job:
    """What the folds have in common; see `cross_validate`."""

    directory: RunDirectory
    source: Source
    plan: list[Fold]
    seed: int
    resume: bool
    progress: bool
    tracker: MlflowTracker | None

    def finish(self, index: int) -> bool:
        """Train a fold, unless that has been done; returns whether it is finished now."""
        fold = self.plan[index]
        run = RunDirectory(self.directory.path / fold.name)
        if run.is_finished:
            logger.info("Fold %d of %d is finished", index + 1, len(self.plan))
            if not run.bundle.is_dir():  # it was killed in between
                export_run(run.path, run.bundle)
            return True
        words = {"folds": fold.split.folds, "fold": fold.split.fold, "repeat": fold.split.repeat}
        flags = [f"--data.split.{name}={value}" for name, value in words.items()]
        # Parsed anew for each fold: the Trainer's callbacks have a state that must not pass from one to the next.
        config = config_from_file(self.directory.config, [*flags, f"--seed_everything={fold_seed(self.seed, index)}"])
        config = _on_one_device(replace(config, tracking=replace(config.tracking, run_name=None)))
        table = self.source.split(config.data.split, guarded=index == 0)
        for sentence in table.warnings if index == 0 else ():
            logger.warning(sentence)
        sizes = {part: frame.height for part, frame in table.frames.items()}
        logger.info("Fold %d of %d", index + 1, len(self.plan), extra=sizes)
        options: dict[str, Any] = {"resume": self.resume, "progress": self.progress, "parent": self.tracker}
        _, trained = fit_table(config, table, run=run.path, **options)
        return not trained.interrupted


def fold_seed(seed: int, index: int) -> int:
    """The seed of a fold: one more than that of the fold before, from the highest one on from 0 again.

    Examples:
        >>> fold_seed(7, 2), fold_seed(2**32 - 1, 1)
        (9, 0)
    """
    return (seed + index) % 2**32


def _track(tracker: MlflowTracker, metrics: Mapping[str, Any]) -> None:
    for index, record in enumerate(metrics["folds"]):
        tracker.log_metrics({f"fold/{name}": value for name, value in record["metrics"].items()}, step=index)
    for part in ("mean", "std", "test"):
        tracker.log_metrics({f"{part}/{name}": value for name, value in metrics.get(part, {}).items()})


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
