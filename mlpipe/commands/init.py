"""`mlpipe init`: look at a table, say what each column is taken for and why, and write a config for it."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from mlpipe.errors import ConfigError, did_you_mean, how_many
from mlpipe.files import refuse_folder
from mlpipe.schema import Schema

if TYPE_CHECKING:
    from mlpipe.data.config import DataConfig
    from mlpipe.data.options import ReadOptions

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Print the table of columns, the task and the guards' warnings, and write the config.

    Raises:
        ConfigError: No target is named, the config's file exists or is a folder, or `--read` is wrong.
        DataError: The table can't be read, split, or lacks a column.
    """
    from mlpipe.commands.tables import print_parts
    from mlpipe.commands.template import render_config
    from mlpipe.data.load import load_table

    out = Path(args.out or f"{default_stem(args.data)}.yaml")
    read = read_options(args.read)
    if not args.target:
        _print_columns_as_read(args.data, read)
        raise ConfigError("Which of these columns is to be predicted? Say it with `--target COLUMN`.")
    refuse_folder(out)
    if out.exists() and not args.force:
        raise ConfigError(f"{out} exists; give another name with `--out`, or `--force` to overwrite it.")
    if not out.parent.is_dir():
        raise ConfigError(f"There is no folder {out.parent}, in which {out.name} is to be written.")

    config = _config(args, read)
    table = load_table(config)
    num_rows = sum(len(frame) for frame in table.frames.values())
    size = f"{how_many(num_rows, 'row')}, {how_many(len(table.schema.columns), 'column')}"
    print(f"{args.data}: {size} ({table.read.format or 'text'})\n")
    print(_columns_as_text(table.schema))
    print(f"\nTask: {table.schema.task.kind}, target {', '.join(map(repr, table.schema.task.target))}")
    print_parts(table.balance)
    for sentence in table.warnings:
        logger.warning(sentence)

    text = render_config(str(out), config, table.schema, table.read, num_rows, args.preset)
    out.write_text(text, encoding="utf-8")
    print(f"Wrote {out}. Look through it, then:\n  mlpipe fit --config {shlex.quote(str(out))}")
    return 0


def default_stem(data: str) -> str:
    """The name of the table without folders and endings.

    Examples:
        >>> default_stem("data/bank.csv.gz"), default_stem("archive.zip::hour.csv"), default_stem("2013.part-*.parquet")
        ('bank', 'hour', '2013')
    """
    name = data.rsplit("::", 1)[-1].rstrip("/").rsplit("/", 1)[-1]
    return name.split(".", 1)[0].strip("*") or "config"


def read_options(pairs: Sequence[str]) -> ReadOptions:
    """What `--read` says.

    Raises:
        ConfigError: It is not KEY=VALUE, or there is no such key, or the value is of another type.

    Examples:
        >>> options = read_options(["encoding=latin-1", "separator=|", "skip_rows=2", "null_values=[-, x]"])
        >>> options.encoding, options.separator, options.skip_rows, options.null_values
        ('latin-1', '|', 2, ['-', 'x'])
    """
    from mlpipe.data.options import ReadOptions

    types = get_type_hints(ReadOptions)
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key not in types:
            raise ConfigError(f"`--read {pair}`: there is no `data.read.{key}`.{did_you_mean(key, types)}")
        wanted = next(type_ for type_ in (get_args(types[key]) or (types[key],)) if type_ is not type(None))
        wanted = get_origin(wanted) or wanted
        value = text.replace("\\t", "\t") if wanted is str else _parsed(text)
        if not equals or not isinstance(value, wanted):
            example = {"bool": "true", "int": "2", "list": "[a, b]", "dict": "{a: String}"}.get(wanted.__name__, "…")
            raise ConfigError(f"`--read {pair}`: say it as `--read '{key}={example}'`.")
        values[key] = value
    return ReadOptions(**values)


def _parsed(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _config(args: argparse.Namespace, read: ReadOptions) -> DataConfig:
    from mlpipe.data.config import DataConfig

    target = args.target[0] if len(args.target) == 1 else args.target
    return DataConfig(target=target, path=args.data, task=args.task, time=args.time, group=args.group, read=read)


def _print_columns_as_read(data: str, read: ReadOptions) -> None:
    from mlpipe.data.read import scan

    head = scan(data, read).head(3).collect()
    rows = [(name, str(head[name].dtype), ", ".join(map(str, head[name].to_list()))) for name in head.columns]
    print(_table(("column", "read as", "first values"), rows))


def _columns_as_text(schema: Schema) -> str:
    return _table(
        ("column", "kind", "role", "why"),
        [(column.name, column.kind.value, column.role.value, column.reason) for column in schema],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the last one as long as it is."""
    cells = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header) - 1)]
    cells.insert(1, ["-" * width for width in (*widths, len(header[-1]))])
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1])).rstrip()
        for row in cells
    )
