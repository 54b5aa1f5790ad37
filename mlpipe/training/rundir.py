"""The folder that a run leaves behind, and where each thing lies in it.

Notable:
- a run is never written over: going on with one has to be asked for;
- what is written is there as a whole or not at all: a new file beside the old one, flushed to disk, then renamed;
- loads neither torch nor Lightning.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.files import write_whole


@dataclass(frozen=True)
class RunDirectory:
    """Where things lie in the folder of one run.

    Attributes:
        path: The folder.

    Examples:
        >>> RunDirectory(Path("runs/adult/first")).best_checkpoint.as_posix()
        'runs/adult/first/checkpoints/best.ckpt'
    """

    path: Path

    @classmethod
    def create(
        cls,
        root: str | Path = "runs",
        experiment: str = "mlpipe",
        name: str | None = None,
        path: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Make the folder of a new run, or take up that of an old one.

        Args:
            root: Where runs go: the folder is `root/experiment/name`.
            experiment: The folder between.
            name: The folder's own name; the time of day (UTC) and four random digits if there is none.
            path: The folder itself, instead of the three above.
            resume: Go on with the run that is there; a new one is begun if there is none yet, so that a job that is
                started over and over needs one command line only.

        Raises:
            ConfigError: As `check`.
        """
        if path is None and resume and name is not None:
            path = Path(root) / experiment / name
        cls.check(path, resume=resume)
        run = cls(Path(path) if path is not None else Path(root) / experiment / (name or unique_name()))
        cls.check(run.path, resume=resume)
        for folder in (run.checkpoints, run.plots):
            folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def check(cls, path: str | Path | None, *, resume: bool, cross_validation: bool = False) -> None:
        """Whether a run can be begun (or taken up) at a path; to be asked before anything slow is done.

        Raises:
            ConfigError: The folder holds something and `resume` is not given, `resume` names no folder, one that holds
                something other than a run, or a run of the other kind (a cross-validation, a single run), or the path
                is a file or below one.
        """
        if path is None:
            if resume:
                raise ConfigError("`--resume` goes on with a run that has a name: say which one with `--run DIR`.")
            return
        path = Path(path)
        refuse_file(path, "--run")
        if resume and path.is_dir() and not cls(path).is_begun:
            raise ConfigError(f"{path} is not empty and holds no run to go on with: name another folder with `--run`.")
        if resume and cls(path).is_cross_validation != cross_validation and cls(path).config.is_file():
            was, verb = ("a", "fit") if cross_validation else ("a cross-validation and no", "crossval")
            raise ConfigError(f"{path} is {was} single run: go on with it by `mlpipe {verb} --run {path} --resume`.")
        if not resume and path.is_dir() and any(path.iterdir()):
            raise ConfigError(f"{path} is not empty: go on with that run by `--resume`, or name another with `--run`.")

    def discard_if_untrained(self) -> None:
        """Remove the folder of a run that failed before its first checkpoint, so that its name is free again."""
        if not self.last_checkpoint.is_file() and not self.best_checkpoint.is_file():
            shutil.rmtree(self.path)

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds what a run alone writes first, or no file yet; a config may be anybody's."""
        if (self.path / "bundle.json").exists():  # a bundle has a `preprocess.json` too
            return False
        first = (self.preprocess, self.folds, self.tracking)
        return any(file.is_file() for file in first) or not any(self._files())

    @property
    def is_finished(self) -> bool:
        """Whether its metrics are there, and those of a training that no signal has cut short."""
        return self.metrics_json.is_file() and not json.loads(self.metrics_json.read_bytes()).get("interrupted", False)

    @property
    def is_cross_validation(self) -> bool:
        """Whether the folder is that of a cross-validation, whose folds are runs."""
        return self.folds.is_file()

    def _files(self) -> Iterator[Path]:
        """All files of the folder but those that `write_whole` was writing when it was killed."""
        files = (path for path in self.path.rglob("*") if not path.is_dir())
        return (path for path in files if not (path.name.startswith(".") and path.suffix == ".new"))

    @property
    def config(self) -> Path:
        """The whole configuration, defaults filled in; a folder with this file is a run."""
        return self.path / "config.yaml"

    @property
    def env(self) -> Path:
        """What the run was made of and on; see `mlpipe.training.environment`."""
        return self.path / "env.json"

    @property
    def schema(self) -> Path:
        """`Schema` as JSON."""
        return self.path / "schema.json"

    @property
    def preprocess(self) -> Path:
        """The fitted `Preprocessor` as JSON."""
        return self.path / "preprocess.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best_checkpoint(self) -> Path:
        """The epoch with the best validation metric."""
        return self.checkpoints / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """Where a resumed run goes on."""
        return self.checkpoints / "last.ckpt"

    @property
    def metrics_json(self) -> Path:
        """`{"validation": {...}, "test": {...}, "train_seconds": s}`, and `"interrupted": true` where that is so."""
        return self.path / "metrics.json"

    @property
    def metrics_csv(self) -> Path:
        """What was logged while training, a line for each time."""
        return self.path / "metrics.csv"

    @property
    def plots(self) -> Path:
        """Folder of the PNGs."""
        return self.path / "plots"

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.path / "bundle"

    @property
    def calibration(self) -> Path:
        """What was fitted on the validation rows: temperature, threshold, interval; see `Calibration`."""
        return self.path / "calibration.json"

    @property
    def statistics(self) -> Path:
        """What the training rows looked like, and what the model answers; see `mlpipe.features.statistics`."""
        return self.path / "statistics.json"

    @property
    def sample_row(self) -> Path:
        """One raw row, for the bundle's sample request."""
        return self.path / "sample_row.json"

    @property
    def folds(self) -> Path:
        """Cross-validation: how the table was cut, and the run of each fold."""
        return self.path / "folds.json"

    @property
    def out_of_fold(self) -> Path:
        """Cross-validation: what was predicted for each row by the model that had not seen it."""
        return self.path / "out_of_fold.parquet"

    @property
    def tracking(self) -> Path:
        """Which MLflow run this is, so that a resumed one goes on with it."""
        return self.path / "mlflow.json"


def open_run(path: str | Path) -> RunDirectory:
    """An existing run, for validation, testing and export.

    Raises:
        ConfigError: There is no such folder (the sentence names the closest run beside it), or it is no run.
    """
    run = RunDirectory(Path(path))
    if run.is_cross_validation:
        folds = sorted(child.name for child in _runs_in(run.path))
        first = f": {run.path / folds[0]}" if folds else ""
        raise ConfigError(f"{run.path} is a cross-validation, each fold of which has rows of its own; name one{first}.")
    if run.config.is_file():
        return run
    if run.path.is_dir():
        inside = _runs_in(run.path)
        hint = did_you_mean(run.path.name, (child.name for child in inside)) if inside else ""
        raise ConfigError(f"{run.path} is no run: it has no {run.config.name}.{hint}")
    beside = _runs_in(run.path.parent)
    hint = did_you_mean(run.path.name, (sibling.name for sibling in beside))
    raise ConfigError(f"There is no run {run.path}.{hint}")


def refuse_file(folder: Path, option: str) -> None:
    """Refuse a folder that cannot be made, since a file lies there or on the way; to be asked before anything slow.

    Args:
        folder: It may be there already.
        option: The one of the command line that names it.

    Raises:
        ConfigError: Names the file.
    """
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise ConfigError(f"{place} is a file; `{option}` names a folder.")


def unique_name() -> str:
    """The time (UTC) to the second and four random digits, which no seed decides: `2026-01-31_18-05-59-3fa9`."""
    return f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all; the folder is made if need be.

    Args:
        path: The file; what it held before stays until the new text is on the disk.
        text: Its text, written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, as a whole or not at all.

    Raises:
        ValueError: A number is NaN or infinite, for which JSON has no form.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [child for child in folder.iterdir() if RunDirectory(child).config.is_file()]
