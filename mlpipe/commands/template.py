"""The config that `mlpipe init` writes: what was found in the table, as YAML with a comment for each decision.

PyYAML writes no comments, so the lines are put together here; it quotes each value, so any column name is safe.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import yaml

from mlpipe.data.config import DataConfig
from mlpipe.data.options import ReadOptions
from mlpipe.errors import how_many
from mlpipe.schema import Column, Kind, Role, Schema
from mlpipe.training.configtext import dump_config

#: The defaults that are changed most often, commented out. `tests/unit/commands/test_init.py` holds them to the
#: defaults in the code.
DEFAULTS = """\
# What is commented out are defaults. To change one, take away the # of its line and of its group.
# features:
#   numeric: quantile          # scaling of numbers: quantile, robust, standard or none
#   num_bins: 48               # of the piecewise-linear encoding
#   high_cardinality: embed    # many categories: embed, hash or target
#   target_transform: none     # log models log(1 + target) of a regression target
# model:
#   trunk: auto                # transformer, or mlp from ten classes on
#   width: 64                  # of a token
#   num_layers: 2
#   num_heads: 4
#   dropout: 0.2
#   ensemble: 1                # networks in one model
#   numeric_embedding: ple     # linear, ple, periodic, plr or pbld
#   rope: index                # rotary position by column; or none
# training:
#   optimizer: muon            # or adamw
#   lr: null                   # 0.006, and less below 128 rows a step
#   weight_decay: 0.1
#   patience: 16               # validations without improvement before training stops
#   metric: null               # what early stopping watches; null: log_loss, or rmse for regression
# trainer:
#   max_epochs: null           # null: by the number of training rows
#   accelerator: auto
#   precision: null            # bf16-mixed saves time on a recent GPU
# tracking:
#   enabled: true
#   uri: null                  # an MLflow server; null: a database in the folder of the runs
#   experiment: mlpipe
"""


def render_config(
    name: str, config: DataConfig, schema: Schema, read: ReadOptions, num_rows: int, preset: str = "default"
) -> str:
    """The text of the config.

    Args:
        name: The file it will be in, for the first line.
        config: What the table was loaded with.
        schema: What was found in it.
        read: How it was read, every field filled in.
        num_rows: Rows of the table that have a target.
        preset: `default`, or a file of the folder `presets`, whose values stand in place of the defaults.

    Returns:
        YAML that `mlpipe fit --config` takes and that gives the same schema again.
    """
    return "\n".join(
        [
            f"# mlpipe fit --config {shlex.quote(name)}",
            f"# Written by `mlpipe init`; the table had {how_many(num_rows, 'row')} with a target.",
            "# `mlpipe fit --help` explains every key.",
            "seed_everything: 0",
            "",
            "data:",
            *_data(config, schema, read),
            "",
            *_recipe(preset),
            "",
        ]
    )


def preset_values(preset: str) -> dict[str, dict[str, Any]]:
    """What a preset sets, by group and key; nothing for `default`."""
    if preset == "default":
        return {}
    text = resources.files("mlpipe").joinpath("presets", f"{preset}.yaml").read_text(encoding="utf-8")
    values: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return values


def column_word(column: Column) -> str:
    """What `data.columns` calls a column: its kind, `identifier`, or `ignore`."""
    if column.role is Role.IDENTIFIER:
        return "identifier"
    if column.role is Role.IGNORED or column.kind is Kind.CONSTANT:
        return "ignore"
    return column.kind.value


def _recipe(preset: str) -> Iterator[str]:
    """`DEFAULTS`, with the values of a preset at the head of their groups."""
    values = preset_values(preset)
    of_group: dict[str, Any] = {}
    for line in DEFAULTS.splitlines():
        key = line.removeprefix("#").split(":")[0]
        if line.endswith(":"):
            of_group = values.get(key.strip(), {})
            yield line.removeprefix("# ") if of_group else line
            yield from (f"  {name}: {_scalar(value)}    # preset: {preset}" for name, value in of_group.items())
        elif key.strip() not in of_group:
            yield line


def _data(config: DataConfig, schema: Schema, read: ReadOptions) -> Iterator[str]:
    yield f"  path: {_scalar(config.path)}"
    yield f"  target: {_scalar(_target(schema.task.target))}"
    yield f"  task: {schema.task.kind.value}    # binary, multiclass, multilabel or regression"
    if config.time is not None:
        yield f"  time: {_scalar(config.time)}"
    if config.group is not None:
        yield f"  group: {_scalar(config.group)}"
    yield "  read:    # as detected"
    yield from (f"    {key}: {_scalar(value)}" for key, value in _resolved(read, config.read))
    yield "  split:"
    yield f"    method: auto    # here: {_split_method(schema)}; or random, stratified, group, time, column"
    yield f"    validation: {config.split.validation}"
    yield f"    test: {config.split.test}"
    yield "    seed: 0"
    yield "  # What each column is taken for; change it to numeric, categorical, boolean, date, datetime, duration,"
    yield "  # text, identifier (carried over to predictions) or ignore."
    yield "  columns:"
    for column in schema:
        reason = " ".join(column.reason.split())
        if column.role in (Role.FEATURE, Role.IGNORED, Role.IDENTIFIER):
            yield f"    {_scalar(column.name)}: {column_word(column)}" + (f"    # {reason}" if reason else "")
        else:  # named above
            yield f"    # {column.name!r} is the {column.role}" + (f": {reason}" if reason else "")


def _resolved(read: ReadOptions, given: ReadOptions) -> Iterator[tuple[str, Any]]:
    """What was detected or given, but for the long fields that are detected again in the same file."""
    unset = ReadOptions()
    for field in dataclasses.fields(read):
        long = field.name in ("null_values", "dtypes")
        value = getattr(given if long else read, field.name)
        if value != getattr(unset, field.name):
            yield field.name, value


def _split_method(schema: Schema) -> str:
    if schema.with_role(Role.GROUP):
        return "group"
    if schema.with_role(Role.TIME):
        return "time"
    return "stratified" if schema.task.is_classification else "random"


def _target(names: Sequence[str]) -> str | list[str]:
    """One name as it is, but in a list if the config's parser would read one in its place."""
    return names[0] if len(names) == 1 and names[0].lstrip()[:1] not in ("[", "-") else list(names)


def _scalar(value: Any) -> str:
    """A value on one line, quoted where YAML would otherwise take it for something else."""
    return dump_config(value, one_line=True).removesuffix("\n").removesuffix("\n...")
