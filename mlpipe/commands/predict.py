"""`mlpipe predict`: score a file with a bundle."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Write the predictions of `--data` to `--out`."""
    from mlpipe.bundle.predictor import Predictor

    rows = Predictor.load(args.bundle).predict_file(args.data, args.out, overwrite=args.force)
    print(f"{rows:,} predictions in {args.out}")
    return 0
