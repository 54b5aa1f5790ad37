"""`mlpipe predict`: score a file with a bundle."""

from __future__ import annotations

import argparse
import logging
import signal

from mlpipe.errors import how_many
from mlpipe.memory import keep_freed_memory

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Write the predictions of `--data` to `--out`."""
    from mlpipe.bundle.predictor import Predictor

    # Polars puts a handler of its own before Python's, which leaves its engine in the midst of our callbacks; on a busy
    # machine that once never ended. Set anew, Python's is the only one.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
    keep_freed_memory()
    predictor = Predictor.load(args.bundle, args.backend)
    if predictor.backend.reason:
        logger.info(predictor.backend.reason)
    rows = predictor.predict_file(args.data, args.out, overwrite=args.force)
    print(f"{how_many(rows, 'prediction')} in {args.out}")
    return 0
