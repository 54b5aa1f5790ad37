"""`mlpipe drift`: how far the rows of a file have moved from those of training."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe.commands.tables import print_table
from mlpipe.errors import ConfigError, how_many

if TYPE_CHECKING:
    from mlpipe.features.comparison import DriftRecord

#: The exit code of `--fail`.
DRIFTED = 3
PLOTS = (".png", ".pdf", ".svg")


def run(args: argparse.Namespace) -> int:
    """Compare; see `mlpipe drift --help`.

    Returns:
        0; with `--fail` 3 if a PSI is above the threshold.
    """
    from mlpipe.bundle.observing import observe_file
    from mlpipe.bundle.predictor import Predictor
    from mlpipe.features.drift import DriftMeter

    _check_files(args)
    # Polars puts a handler of its own before Python's; see `mlpipe.commands.predict`.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
    predictor = Predictor.load(args.bundle)
    kind = predictor.schema.task.kind
    meter = DriftMeter(predictor.statistics, kind, threshold=predictor.threshold, window=None)
    rows = observe_file(predictor, meter, args.data, without=args.without)
    records = sorted(meter.report(without=args.without), key=lambda record: -1.0 if record.psi is None else -record.psi)
    above = [record.feature for record in records if record.psi is not None and record.psi > args.threshold]
    report = {
        "bundle": predictor.version,
        "data": args.data,
        "rows": rows,
        "training_rows": predictor.statistics.features.rows,
        "threshold": args.threshold,
        "above": above,
        "records": [{**record.to_dict(), "verdict": record.verdict} for record in records],
    }
    _write(args, report, records)
    if args.log == "json":
        print(json.dumps(report))
    else:
        _show(args, report, records)
    return DRIFTED if args.fail and above else 0


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what cannot be written before anything slow is done."""
    from mlpipe.bundle.scoring import check_out

    for option, name, endings in (("--out", args.out, (".json",)), ("--plot", args.plot, PLOTS)):
        if name is None:
            continue
        if Path(name).suffix.lower() not in endings:
            raise ConfigError(f"{option} {name!r}: the file's name has to end in {' or '.join(endings)}.")
        check_out(args.data, Path(name), overwrite=args.force)


def _write(args: argparse.Namespace, report: dict[str, Any], records: Sequence[DriftRecord]) -> None:
    if args.out is not None:
        from mlpipe.training.rundir import write_json

        write_json(Path(args.out), report)
    if args.plot is not None:
        from mlpipe.research.drift_figure import drift_figure
        from mlpipe.research.plots import save

        save(drift_figure(records), Path(args.plot))


def _show(args: argparse.Namespace, report: dict[str, Any], records: Sequence[DriftRecord]) -> None:
    columns = ["", "PSI", "missing", "new values", "verdict"]
    rows = [
        [
            record.feature,
            "–" if record.psi is None else f"{record.psi:.3f}",
            _rates(record.missing_in_training, record.missing),
            _rates(record.unseen_in_training, record.unseen),
            record.verdict,
        ]
        for record in records
    ]
    print_table(columns, rows)
    print(
        f"{how_many(report['rows'], 'row')} of {args.data} beside {how_many(report['training_rows'], 'training row')}."
    )
    if all(record.psi is None for record in records):
        print("So few rows have no PSI: chance alone would give a large one.")
    elif report["above"]:
        print(f"PSI above {args.threshold:g}: {', '.join(report['above'])}.")
    else:
        print(f"No PSI is above {args.threshold:g}.")
    for name in (args.out, args.plot):
        if name is not None:
            print(f"Written: {name}")


def _rates(before: float | None, now: float | None) -> str:
    """A share in training and now."""
    return "" if before is None or now is None else f"{before:.1%} → {now:.1%}"
