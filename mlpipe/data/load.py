"""From a `DataConfig` to three frames: read, infer, split, guard.

The one way by which rows come in; `mlpipe fit`, `mlpipe crossval`, the baselines and the benchmarks all start here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.data.config import DataConfig
from mlpipe.data.folds import split_fold
from mlpipe.data.guards import find_warnings
from mlpipe.data.infer import drop_null_targets, infer_schema
from mlpipe.data.options import ReadOptions, refuse_unknown_columns
from mlpipe.data.read import read, read_like
from mlpipe.data.split import Split, SplitConfig, describe_split, split_rows
from mlpipe.data.target import find_targets
from mlpipe.errors import DataError, did_you_mean, how_many
from mlpipe.features.frame import count_unreadable, unreadable_sentences
from mlpipe.features.target import TargetCodec
from mlpipe.features.typed import number, typed
from mlpipe.schema import Role, Schema

#: One of `PARTS`.
Part = str
PARTS: tuple[Part, ...] = ("train", "validation", "test")
Positions = npt.NDArray[np.int64]

#: Name of a column that numbers the rows while some are left out.
_NUMBER = "\0number of the row"


@dataclass(frozen=True)
class Table:
    """A table, read and split.

    Attributes:
        schema: What its columns are.
        frames: The raw rows by part. `test` may be empty; `train` and `validation` are not.
        read: How the files were read, every field filled in, so that later files are read the same way.
        warnings: What the guards found, a sentence each.
        balance: Size and class balance (or mean and spread of the target) of each part.
        files: The files that were read.
    """

    schema: Schema
    frames: Mapping[Part, pl.DataFrame]
    read: ReadOptions
    warnings: tuple[str, ...] = ()
    balance: tuple[Mapping[str, Any], ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Source:
    """A table as it was read, before it is split.

    Attributes:
        name: The one file, or that for training.
        schema: What its columns are.
        frame: The rows of that file that have a target.
        numbers: (rows,) the number of each of them in the file, from 0.
        others: The parts that have a file of their own.
        read: How the files were read, every field filled in.
        warnings: How many rows had no target, and how many values of later files could not be read; sentences.
        files: The files that were read.
    """

    name: str
    schema: Schema
    frame: pl.DataFrame
    numbers: Positions
    others: Mapping[Part, pl.DataFrame]
    read: ReadOptions
    warnings: tuple[str, ...]
    files: tuple[Path, ...]

    def split(self, config: SplitConfig, *, guarded: bool = True) -> Table:
        """Split the rows into parts: what has a file of its own is not split off again.

        Args:
            config: How; with `folds` the test is the held-out fold, also if there is a file for the test.
            guarded: Look for leaks and for rows of one part in another; it takes a while.

        Raises:
            ConfigError: The method needs a column that the schema does not have.
            DataError: A part that is needed would be empty, or none of its rows counts.
        """
        parts = self._parts(self.frame, config, self.positions(config))
        frames = {part: with_all_columns(parts[part], self.frame.columns) for part in PARTS}
        return Table(
            schema=self.schema,
            frames=frames,
            read=self.read,
            warnings=(*self.warnings, *(find_warnings(self.schema, frames) if guarded else ())),
            balance=tuple(describe_split(frames, self.schema)),
            files=self.files,
        )

    def positions(self, config: SplitConfig) -> Split:
        """Which of the rows of `frame` go into which part; see `split`, which refuses the same."""
        config = replace(
            config,
            validation=0.0 if "validation" in self.others else config.validation,
            test=0.0 if "test" in self.others else config.test,
        )
        split = (split_rows if config.folds is None else split_fold)(self.frame, self.schema, config)
        if len(split.validation) == 0 and "validation" not in self.others:
            raise DataError(
                f"{self.name}: no rows are left for validation; early stopping and calibration need some: "
                "set `data.split.validation` above 0 or give `data.validation`."
            )
        if (column := self.schema.with_role(Role.WEIGHT)) is not None:
            _refuse_weightless(self.name, column.name, self._parts(self.frame.select(column.name), config, split))
        return split

    def _parts(self, frame: pl.DataFrame, config: SplitConfig, split: Split) -> dict[Part, pl.DataFrame]:
        """The rows of each part, of the table or of some of its columns; those of other files have all of theirs."""
        held_out = frame[split.test]
        return {
            "train": frame[split.train],
            "validation": self.others.get("validation", frame[split.validation]),
            "test": self.others.get("test", held_out) if config.folds is None else held_out,
        }

    def set_aside(self, config: SplitConfig) -> pl.DataFrame:
        """The rows that no fold has: those of the test's own file, or that a column gives to the test."""
        if "test" in self.others:
            return with_all_columns(self.others["test"], self.frame.columns)
        single = replace(config, validation=0.0, test=0.0, folds=None, fold=0, repeat=0)
        return self.frame[split_rows(self.frame, self.schema, single).test]


def load_table(config: DataConfig) -> Table:
    """Read the file(s) of a config, infer the schema from the training file, split.

    Raises:
        DataError: A file, a column or a part of the split is not what it has to be.
    """
    return read_source(config).split(config.split)


def read_source(config: DataConfig) -> Source:
    """Read the file(s) of a config and infer the schema from the training file.

    Raises:
        DataError: A file or a column is not what it has to be.
    """
    source = config.path or config.train
    assert source is not None  # DataConfig has seen to it
    frame, options = read(source, config.read)
    refuse_unknown_columns(source, config.read, frame.columns)
    frame = map_labels(frame, find_targets(config.target, frame.columns, source), config.target_map)
    schema = infer_schema(
        frame,
        config.target,
        task=config.task,
        columns=config.columns,
        time=config.time,
        group=config.group,
        weight=config.weight,
        split=config.split.column,
        source=source,
    )
    frame, dropped = drop_null_targets(frame.with_row_index(_NUMBER), schema)
    warnings = [dropped_sentence(source, dropped)] if dropped else []

    others: dict[Part, pl.DataFrame] = {}
    for part, path in (("validation", config.validation), ("test", config.test)):
        if path is not None:
            others[part], dropped = read_labelled(path, schema, options, config.target_map)
            warnings += [dropped_sentence(path, dropped)] if dropped else []
            warnings += unreadable_sentences(path, count_unreadable(others[part], schema))
    return Source(
        name=source,
        schema=schema,
        frame=frame.drop(_NUMBER),
        numbers=frame[_NUMBER].cast(pl.Int64).to_numpy(),
        others=others,
        read=options,
        warnings=tuple(warnings),
        files=tuple(Path(p) for p in (source, config.validation, config.test) if p is not None),
    )


def read_labelled(
    path: str, schema: Schema, options: ReadOptions, target_map: Mapping[str, str] | None
) -> tuple[pl.DataFrame, int]:
    """Read another file of the same table as the first one was (see `read_like`): same columns, same labels.

    Returns:
        The rows that have a target, and how many had none.

    Raises:
        DataError: A used column is missing or cannot be read as its kind, a label is none of the classes, or no row
            has a target.
    """
    frame = read_like(path, options)
    types = frame.schema  # put together anew each time it is asked for
    for column in schema:
        used = column.role not in (Role.IGNORED, Role.IDENTIFIER, Role.SPLIT)
        if used and column.name not in types:
            hint = did_you_mean(column.name, types)
            raise DataError(f"{path}: there is no column {column.name!r}, which the training file has.{hint}")
    for column in schema.features:
        try:
            typed(column, types[column.name])
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    frame, dropped = drop_null_targets(map_labels(frame, schema.task.target, target_map), schema)
    if frame.is_empty():
        raise DataError(f"{path}: none of its {how_many(dropped, 'row')} has a target.")
    TargetCodec(schema.task).encode(frame, path)  # here, where the file's name is known
    return frame, dropped


def _refuse_weightless(source: str, column: str, parts: Mapping[Part, pl.DataFrame]) -> None:
    """Refuse parts of whose rows none counts: nothing can be learned from them, nor measured on them."""
    for part, frame in parts.items():
        weights = frame.select(number(pl.col(column), frame.schema[column])).to_series()
        if frame.height and weights.max() == 0:
            raise DataError(
                f"{source}: all weights of the {part} rows are 0, as `data.weight` names {column!r}; change the "
                "weights or `data.split`."
            )


def map_labels(frame: pl.DataFrame, names: Sequence[str], target_map: Mapping[str, str] | None) -> pl.DataFrame:
    """Rename labels of the named target columns."""
    return frame.with_columns(pl.col(names).cast(pl.String).replace(target_map)) if target_map else frame


def with_all_columns(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The named columns in order; those that a later file lacks (unused ones only, see `read_labelled`) are null."""
    there = set(frame.columns)
    return frame.select(pl.col(name) if name in there else pl.lit(None).alias(name) for name in names)


def dropped_sentence(path: str, count: int) -> str:
    """What is said of rows without a target."""
    what = how_many(count, "row has no target and is left out", "rows have no target and are left out")
    return f"{path}: {what}."
