"""From a `DataConfig` to three frames: read, infer, split, guard.

The one way by which rows come in; `mlpipe fit`, the baselines and the benchmarks all start here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from mlpipe.data.config import DataConfig
from mlpipe.data.guards import find_warnings
from mlpipe.data.infer import drop_null_targets, infer_schema
from mlpipe.data.read import ReadOptions, read, refuse_unknown_columns
from mlpipe.data.split import Split, SplitConfig, describe_split, split_rows
from mlpipe.data.target import find_targets
from mlpipe.errors import DataError, did_you_mean
from mlpipe.features.target import TargetCodec
from mlpipe.schema import Role, Schema

#: One of `PARTS`.
Part = str
PARTS: tuple[Part, ...] = ("train", "validation", "test")


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


def load_table(config: DataConfig) -> Table:
    """Read the file(s) of a config, infer the schema from the training file, split.

    Raises:
        DataError: A file, a column or a part of the split is not what it has to be.
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
    frame, dropped = drop_null_targets(frame, schema)
    warnings = [_dropped_sentence(source, dropped)] if dropped else []

    others: dict[Part, pl.DataFrame] = {}
    for part, path in (("validation", config.validation), ("test", config.test)):
        if path is not None:
            others[part], dropped = read_labelled(path, schema, options, config.target_map)
            warnings += [_dropped_sentence(path, dropped)] if dropped else []

    split_config = config.split
    if config.train is not None:
        # Separate files: what has a file of its own is not split off again.
        split_config = replace(
            split_config,
            validation=0.0 if config.validation else split_config.validation,
            test=0.0 if config.test else split_config.test,
        )
    split = _split(frame, schema, split_config, others, source)
    frames: dict[Part, pl.DataFrame] = {
        "train": frame[split.train],
        "validation": others.get("validation", frame[split.validation]),
        "test": others.get("test", frame[split.test]),
    }
    frames = {part: with_all_columns(frames[part], frame.columns) for part in PARTS}
    return Table(
        schema=schema,
        frames=frames,
        read=options,
        warnings=(*warnings, *find_warnings(schema, frames)),
        balance=tuple(describe_split(frames, schema)),
        files=tuple(Path(p) for p in (source, config.validation, config.test) if p is not None),
    )


def read_labelled(
    path: str, schema: Schema, options: ReadOptions, target_map: Mapping[str, str] | None
) -> tuple[pl.DataFrame, int]:
    """Read another file of the same table: same options, same columns, same labels.

    Returns:
        The rows that have a target, and how many had none.

    Raises:
        DataError: A used column is missing, a label is none of the classes, or no row has a target.
    """
    frame, _ = read(path, options)
    for column in schema:
        used = column.role not in (Role.IGNORED, Role.IDENTIFIER, Role.SPLIT)
        if used and column.name not in frame.columns:
            hint = did_you_mean(column.name, frame.columns)
            raise DataError(f"{path}: there is no column {column.name!r}, which the training file has.{hint}")
    frame, dropped = drop_null_targets(map_labels(frame, schema.task.target, target_map), schema)
    if frame.is_empty():
        raise DataError(f"{path}: no row has a target; {dropped:,} have none.")
    TargetCodec(schema.task).encode(frame, path)  # here, where the file's name is known
    return frame, dropped


def map_labels(frame: pl.DataFrame, names: Sequence[str], target_map: Mapping[str, str] | None) -> pl.DataFrame:
    """Rename labels of the named target columns."""
    return frame.with_columns(pl.col(names).cast(pl.String).replace(target_map)) if target_map else frame


def with_all_columns(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The named columns in order; those that a later file lacks (unused ones only, see `read_labelled`) are null."""
    return frame.select(pl.col(n) if n in frame.columns else pl.lit(None).alias(n) for n in names)


def _split(
    frame: pl.DataFrame, schema: Schema, config: SplitConfig, others: Mapping[Part, pl.DataFrame], source: str
) -> Split:
    split = split_rows(frame, schema, config)
    if len(split.validation) == 0 and "validation" not in others:
        raise DataError(
            f"{source}: no rows are left for validation; early stopping and calibration need some: "
            "set `data.split.validation` above 0 or give `data.validation`."
        )
    return split


def _dropped_sentence(path: str, count: int) -> str:
    return f"{path}: {count:,} rows have no target and are left out."
