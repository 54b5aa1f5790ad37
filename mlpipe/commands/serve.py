"""`mlpipe serve`: put a bundle behind HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from mlpipe.serving.server import serve
    from mlpipe.serving.settings import Settings, Slot

    host = "127.0.0.1" if args.host == "localhost" else args.host
    slots = [Slot(Path(args.bundle))]
    serve(lambda: slots, Settings(host=host, port=args.port, workers=args.workers))
    return 0
