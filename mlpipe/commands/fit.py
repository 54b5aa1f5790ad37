"""`mlpipe fit`: from a config to a run directory with a bundle in it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from mlpipe.commands.arguments import build_parsers
from mlpipe.commands.tables import print_metrics, print_parts
from mlpipe.data.load import load_table
from mlpipe.logs import log_execution_time
from mlpipe.research.fitting import RUNS, fit_table
from mlpipe.training.loop import Trained
from mlpipe.training.parser import RunConfig, parse_config
from mlpipe.training.ranks import Ranks, find_ranks
from mlpipe.training.rundir import RunDirectory

logger = logging.getLogger(__name__)

INTERRUPTED = 130


def run(args: argparse.Namespace) -> int:
    """Train; see `mlpipe fit --help`.

    Returns:
        0, or 130 if Ctrl-C cut the training short: the run is complete all the same, with the best weights so far.
    """
    if {"-h", "--help"} & set(args.rest):
        build_parsers()[1]["fit"].print_help()  # our own options, above the config's
    config = parse_config(with_saved_config(args))
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
        SystemExit: As `train`.
    """
    ranks = find_ranks(config.trainer)
    run = _agree(ranks, run, RUNS / config.tracking.experiment, resume=resume)
    with log_execution_time("read the table", logger):
        table = load_table(config.data)
    for sentence in table.warnings:
        logger.warning(sentence)
    if tables and ranks.is_first:
        print_parts(table.balance)
    return fit_table(config, table, run=run, resume=resume, progress=progress, ranks=ranks)


def _agree(ranks: Ranks, run: str | None, folder: Path, *, resume: bool) -> str | None:
    """The run directory, checked by the first of several processes and known to all; None: `fit_table` names it."""
    if ranks.is_first or run is None:
        RunDirectory.check(run, resume=resume)
    if not ranks.is_first:
        logging.disable(logging.WARNING)  # the first one says it
    return ranks.run_directory(run, folder)


def with_saved_config(args: argparse.Namespace) -> list[str]:
    """The words for the config's parser; a resumed run brings its own config, under what is given now."""
    if not args.resume or args.run is None:
        return list(args.rest)
    saved = RunDirectory(Path(args.run)).config
    return ["--config", str(saved), *args.rest] if saved.is_file() else list(args.rest)


def wants_progress_bar(args: argparse.Namespace) -> bool:
    """Whether there is a terminal to show one at."""
    return args.log == "rich" and not args.quiet and sys.stderr.isatty()
