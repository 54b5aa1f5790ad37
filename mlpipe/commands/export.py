"""`mlpipe export`: turn a run into a bundle."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """Write the bundle of `--run` to `--out`."""
    from mlpipe.bundle.export import MakeGraphs, export_run
    from mlpipe.bundle.folder import verify
    from mlpipe.training.rundir import refuse_file

    refuse_file(Path(args.out), "--out")
    graphs: MakeGraphs | None = None
    if args.onnx or args.int8:
        from mlpipe.bundle.onnx_export import require_onnx

        require_onnx()
        from mlpipe.commands.graphs import make_graphs

        graphs = partial(make_graphs, int8=args.int8)
    out = export_run(Path(args.run), Path(args.out), graphs=graphs, overwrite=args.force)
    print(f"Bundle {verify(out).version} in {out}")
    return 0
