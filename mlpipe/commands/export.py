"""`mlpipe export`: turn a run into a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """Write the bundle of `--run` to `--out`."""
    from mlpipe.bundle.export import export_run
    from mlpipe.bundle.folder import verify

    out = export_run(Path(args.run), Path(args.out), overwrite=args.force)
    print(f"Bundle {verify(out).version} in {out}")
    return 0
