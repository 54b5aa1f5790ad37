"""`mlpipe crossval`: a model for each fold, how well each does on rows it has not seen, and their average."""

from __future__ import annotations

import argparse
import json

from mlpipe.commands.arguments import build_parsers
from mlpipe.commands.fit import INTERRUPTED, wants_progress_bar, with_saved_config
from mlpipe.commands.tables import print_metrics
from mlpipe.research.crossval import cross_validate
from mlpipe.training.parser import parse_config


def run(args: argparse.Namespace) -> int:
    """Cross-validate; see `mlpipe crossval --help`.

    Returns:
        0, or 130 if Ctrl-C cut it short: the folds that are finished are kept.
    """
    if {"-h", "--help"} & set(args.rest):
        build_parsers()[1]["crossval"].print_help()
        print("\nEvery key of a config is an option too, as `mlpipe fit --help` lists them.")
        return 0
    result = cross_validate(
        parse_config(with_saved_config(args)),
        folds=args.folds,
        repeats=args.repeats,
        run=args.run,
        resume=args.resume,
        average=args.average,
        bundle=args.bundle,
        overwrite=args.force,
        progress=wants_progress_bar(args),
    )
    path = result.directory.path
    if args.log == "json":
        record = {"run": str(path), "bundle": None if result.bundle is None else str(result.bundle)}
        print(json.dumps({**record, "metrics": result.metrics, "interrupted": result.interrupted}))
        return INTERRUPTED if result.interrupted else 0
    if result.interrupted:
        print(f"Interrupted; go on with: mlpipe crossval --run {path} --resume")
        return INTERRUPTED
    shown = ("mean", "std", "min", "max", "test")
    print_metrics({name: result.metrics[name] for name in shown if name in result.metrics})
    print(f"\nRun:          {path}\nOut of fold:  {result.directory.out_of_fold}")
    if result.bundle is not None:
        print(f"Bundle:       {result.bundle}\nServe:        mlpipe serve {result.bundle}")
    return 0
