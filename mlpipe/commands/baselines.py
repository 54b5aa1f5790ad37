"""`mlpipe baselines`: ours and other models on the same rows, in one table.

Ours is a finished run (`--run`), or is trained first, as `mlpipe fit` does it. What is done is printed and written even
if Ctrl-C ends the rest.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mlpipe.commands.arguments import build_parsers
from mlpipe.commands.fit import INTERRUPTED, fit, wants_progress_bar
from mlpipe.commands.tables import print_parts, print_table
from mlpipe.data.load import Table, load_table
from mlpipe.errors import ConfigError
from mlpipe.logs import log_execution_time
from mlpipe.research.baselines.registry import BASELINES, absent, absent_sentence, check_names
from mlpipe.research.baselines.report import PAGE, RECORD, Report, check_folder
from mlpipe.research.baselines.run import OURS, iter_baselines, measure_run
from mlpipe.research.fitting import resolved
from mlpipe.training.annotate import annotate_run
from mlpipe.training.configtext import dump_config
from mlpipe.training.environment import file_fingerprint
from mlpipe.training.metrics import DEFAULT_METRIC, check_metric
from mlpipe.training.parser import RunConfig, parse_config
from mlpipe.training.rundir import RunDirectory, open_run

logger = logging.getLogger(__name__)

#: Keys of `data` that say nothing about the rows.
_NO_MATTER = ("batch_size", "eval_batch_size")


def run(args: argparse.Namespace) -> int:
    """Compare; see `mlpipe baselines --help`.

    Returns:
        0, or 130 if Ctrl-C cut it short.
    """
    if {"-h", "--help"} & set(args.rest):
        build_parsers()[1]["baselines"].print_help()
        print("\nEvery key of a config is an option too, as `mlpipe fit --help` lists them.")
        return 0
    names = _names(args.only)
    if args.out is not None:
        check_folder(Path(args.out), overwrite=args.force)
    directory = _finished_run(args)
    config = parse_config(_words(args.rest, directory))
    interrupted, trained = False, None
    if directory is None and (args.run is not None or args.only is None or OURS in args.only):
        directory, trained = fit(config, run=args.run, progress=wants_progress_bar(args), tables=args.log != "json")
        interrupted = trained.interrupted
    with log_execution_time("read the table", logger):
        table = load_table(config.data)
    report = _report(config, table)
    if trained is None:
        _introduce(table, args)
    if directory is not None:
        if trained is None:
            _check_same_rows(directory, config, table)
        report.results.append(measure_run(directory, table.frames))
    if args.out is not None:
        report.write(Path(args.out))
    interrupted = interrupted or _compare(names, config, table, report, args.out)
    _show(report, args, directory)
    if directory is not None:
        with tempfile.TemporaryDirectory() as folder:
            annotate_run(directory, config.tracking, report.metrics(), report.write(Path(folder)))
    return INTERRUPTED if interrupted else 0


def _names(only: list[str] | None) -> list[str]:
    """The baselines asked for, without ours.

    Raises:
        ConfigError: One is unknown, or not one of them can run here.
    """
    if only is None:
        return list(BASELINES)
    check_names(only, OURS)
    names = [name for name in dict.fromkeys(only) if name != OURS]
    missing = absent(names)
    if missing and len(missing) == len(set(only)):
        raise ConfigError(absent_sentence(missing))
    return names


def _finished_run(args: argparse.Namespace) -> RunDirectory | None:
    """The run to compare with, if it has been trained already.

    Raises:
        ConfigError: The folder holds something that is no finished run, or nothing, and no config says what to train.
    """
    if args.run is None:
        return None
    directory = RunDirectory(Path(args.run))
    if directory.metrics_json.is_file() and directory.bundle.is_dir():
        return directory
    if directory.config.is_file():
        raise ConfigError(f"{args.run} is no finished run; `mlpipe fit --run {args.run} --resume` goes on with it.")
    RunDirectory.check(args.run, resume=False)
    return None if args.rest else open_run(args.run)


def _words(rest: list[str], directory: RunDirectory | None) -> list[str]:
    """The words for the config's parser; a finished run brings its config, if no other is named."""
    named = any(word in ("-c", "--config") or word.startswith("--config=") for word in rest)
    return rest if directory is None or named else ["--config", str(directory.config), *rest]


def _report(config: RunConfig, table: Table) -> Report:
    kind = table.schema.task.kind
    metric = config.training.metric or DEFAULT_METRIC[kind]
    check_metric(kind, metric)
    if metric == "pinball":
        raise ConfigError("Only ours has intervals, and `pinball` measures those: compare by `--training.metric mae`.")
    return Report(kind, metric, {part: frame.height for part, frame in table.frames.items()}, config.seed)


def _compare(names: list[str], config: RunConfig, table: Table, report: Report, out: str | None) -> bool:
    """Fit the baselines, and write the report anew after each; returns whether Ctrl-C ended that."""
    try:
        for result in iter_baselines(table.schema, table.frames, names, config.seed, config.features, report.metric):
            report.results.append(result)
            if out is not None:
                report.write(Path(out))
    except KeyboardInterrupt:
        logger.warning("Interrupted: the table holds what was done until then.")
        return True
    return False


def _introduce(table: Table, args: argparse.Namespace) -> None:
    """What `fit` says of a table, where it has not been called."""
    for sentence in table.warnings:
        logger.warning(sentence)
    if args.log != "json":
        print_parts(table.balance)


def _show(report: Report, args: argparse.Namespace, directory: RunDirectory | None) -> None:
    if args.log == "json":
        print(json.dumps({"run": None if directory is None else str(directory.path), **report.record()}))
        return
    print(f"\n{report.part} rows: {report.rows[report.part]:,}")
    print_table(*report.cells())
    if directory is not None:
        print(f"Run:     {directory.path}")
    if args.out is not None:
        print(f"Table:   {Path(args.out) / PAGE}\nRecord:  {Path(args.out) / RECORD}")


def _check_same_rows(directory: RunDirectory, config: RunConfig, table: Table) -> None:
    """A run that was trained on other rows may have seen those that it would be measured on.

    Raises:
        ConfigError: Names the key or the file that differs.
    """
    then = dict(_dotted(yaml.safe_load(directory.config.read_text(encoding="utf-8"))["data"]))
    now = dict(_dotted(yaml.safe_load(dump_config(resolved(config, table)["data"]))))
    for key in sorted(then.keys() | now.keys()):
        if key not in _NO_MATTER and then.get(key) != now.get(key):
            raise ConfigError(
                f"{directory.path} was trained with `data.{key}: {json.dumps(then.get(key))}`, and here it is "
                f"{json.dumps(now.get(key))}; `mlpipe baselines --run {directory.path}` compares on its own rows."
            )
    known = {entry.get("sha256") for entry in json.loads(directory.env.read_text(encoding="utf-8"))["data"]}
    for file in table.files:
        if file_fingerprint(file).get("sha256") not in known:
            raise ConfigError(f"{file} has changed since {directory.path} was trained: train anew to compare on it.")


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
