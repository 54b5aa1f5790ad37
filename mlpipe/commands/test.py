"""`mlpipe test`: the metrics of a run on its test rows, or on a labelled file."""

from __future__ import annotations

import argparse

from mlpipe.commands.evaluation import evaluate_run


def run(args: argparse.Namespace) -> int:
    """Evaluate; see `mlpipe test --help`."""
    return evaluate_run(args, "test")
