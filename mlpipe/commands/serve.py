"""`mlpipe serve`: put a bundle behind HTTP."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from mlpipe.serving.server import serve

    serve(args.bundle, host=args.host, port=args.port, workers=args.workers)
    return 0
