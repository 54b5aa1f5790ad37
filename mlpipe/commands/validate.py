"""`mlpipe validate`: the metrics of a run on its validation rows, or on a labelled file."""

from __future__ import annotations

import argparse

from mlpipe.commands.evaluation import evaluate_run


def run(args: argparse.Namespace) -> int:
    """Evaluate; see `mlpipe validate --help`."""
    return evaluate_run(args, "validation")
