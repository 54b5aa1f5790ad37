"""The main job on real input: will this flight arrive more than 15 minutes late?

All flights that left New York City in 2013, with the hour's weather: writes the table, trains as `configs/flights.yaml`
says, measures three baselines on the same rows, starts the server on the exported bundle, asks it about one flight and
stops it. `make demo` runs this.

    python benchmarks/flights.py [--out FOLDER] [--results FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mlpipe.commands.fit import fit
from mlpipe.commands.tables import number, print_table
from mlpipe.data.flights import write_flights
from mlpipe.data.load import load_table
from mlpipe.errors import MlpipeError
from mlpipe.logs import configure_logging
from mlpipe.research.baselines import run_baselines
from mlpipe.training.parser import parse_config
from mlpipe.training.rundir import unique_name

ROOT = Path(__file__).resolve().parent.parent
SHOWN = ("accuracy", "auroc", "average_precision", "log_loss", "brier", "calibration_error")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the table (default: demo)")
    parser.add_argument("--results", type=Path, help="also write flights.json and flights.md into this folder")
    args, overrides = parser.parse_known_args()
    configure_logging("rich" if sys.stderr.isatty() else "plain")
    try:
        return demo(args.out, args.results, overrides)
    except MlpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def demo(out: Path, results: Path | None, overrides: list[str]) -> int:
    out.mkdir(parents=True, exist_ok=True)
    table_path = out / "flights.parquet"
    if not table_path.is_file():
        rows = write_flights(table_path)
        print(f"Wrote {rows:,} flights to {table_path}.")
    config = parse_config(["--config", str(ROOT / "configs" / "flights.yaml"), f"--data.path={table_path}", *overrides])
    directory, trained = fit(config, run=f"runs/flights/{unique_name()}", progress=sys.stderr.isatty())
    if trained.interrupted:
        return 130

    print("\nThe same rows, scored by the baselines:")
    table = load_table(config.data)
    records: list[dict[str, Any]] = [{"name": "mlpipe", "seconds": trained.train_seconds, **trained.metrics}]
    records += [
        {"name": result.name, "seconds": result.train_seconds, **result.metrics}
        for result in run_baselines(table.schema, table.frames, seed=config.seed)
    ]
    for part in ("validation", "test"):
        print(f"\n{part} rows: {len(table.frames[part]):,}")
        cells = [[metric, *(number(record[part].get(metric)) for record in records)] for metric in SHOWN]
        seconds = ["training", *(f"{record['seconds']:.0f} s" for record in records)]
        # A column for each model fits into a terminal of 80 columns; one for each metric does not.
        print_table(["metric", *(record["name"] for record in records)], [*cells, seconds])
    if results is not None:
        write_results(results, records)
    return ask_server(directory.bundle)


def write_results(folder: Path, records: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flights.json").write_text(json.dumps(records, indent=2) + "\n")
    header = ["test rows: Nov, Dec", *SHOWN]
    cells = [[str(record["name"]), *(number(record["test"].get(name)) for name in SHOWN)] for record in records]
    lines: list[str] = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *cells)]
    (folder / "flights.md").write_text("\n".join(lines) + "\n")


def ask_server(bundle: Path) -> int:
    """Serve the bundle, send its sample request, print the answer, stop the server."""
    port = free_port()
    command = [sys.executable, "-m", "mlpipe", "serve", str(bundle), "--port", str(port), "--quiet"]
    print(f"\n$ mlpipe serve {bundle} --port {port}")
    server = subprocess.Popen(command, env={**os.environ})
    try:
        wait_until_ready(server, f"http://127.0.0.1:{port}/health")
        body = (bundle / "sample_request.json").read_bytes()
        url = f"http://127.0.0.1:{port}/predict"
        print(f"$ curl {url} -H 'Content-Type: application/json' -d '{body.decode().strip()}'")
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            print(json.dumps(json.load(answer), indent=2))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    print("The server has stopped.")
    return 0


def wait_until_ready(server: subprocess.Popen[bytes], url: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise MlpipeError(f"The server has ended with exit code {server.returncode}.")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise MlpipeError(f"The server was not ready within {seconds:.0f} s.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
