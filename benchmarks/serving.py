"""The server under load, beside a stock LitServe that does no work at all.

    python benchmarks/serving.py --bundle B --data flights.parquet [--backends torch onnx] [--seconds 10] [--rounds 3]
                                 [--workers 1] [--api-servers 1]

The load comes from wrk (https://github.com/wg/wrk, `apt install wrk`), a process of its own on the same machine, which
sends rows of the table one after the other. In each round every server is started anew and measured in turn:

- one connection, one row a request: the time that one client waits;
- 64 connections, one row a request: how many requests it answers;
- 16 connections, 64 rows a request: how many rows.

With several `--backends` (of a bundle that `mlpipe export --int8` wrote) and one worker, they are also compared without
a server, by `serving_backends.py`.

The stock LitServe (batches of 64, a window of 5 ms) has a model that returns a number without looking at the request;
the bare ASGI function under uvicorn, which does nothing either, is what HTTP alone costs. All figures are medians over
the rounds. Writes results/serving.{json,md}, with several workers results/serving_workers.{json,md}, in which the
comparison without a server is left out; `serving_soak.py` is about hours and about too many requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import serving_backends
from processor import processor

HERE = Path(__file__).resolve().parent
SHAPES = {"one": (1, 1), "many": (64, 1), "rows": (16, 64)}  # connections, rows a request
#: For wrk: the lines of a file as bodies, one after the other.
BODIES = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local place = 0
request = function()
  place = place %% #bodies + 1
  return wrk.format("POST", "/predict", {["Content-Type"] = "application/json"}, bodies[place])
end
"""
RESULT = """
done = function(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format("RESULT %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed, summary.errors.timeout))
end
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a table with the bundle's columns")
    parser.add_argument("--backends", nargs="+", default=["torch"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        print("error: the load comes from wrk, which is not there: apt install wrk", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> int:
    scripts = write_scripts(args.bundle, args.data, folder)
    options = ["--workers", str(args.workers), "--api-servers", str(args.api_servers)]
    servers = {f"mlpipe, {backend}": mlpipe(args.bundle, backend, options) for backend in args.backends}
    servers |= {"LitServe, no work": peer("litserve"), "ASGI function, no work": peer("asgi")}
    runs: dict[str, dict[str, list[dict[str, float]]]] = {name: {shape: [] for shape in SHAPES} for name in servers}
    for number in range(args.rounds):
        for name, command in servers.items():
            with running(command) as port:
                for shape, (connections, _) in SHAPES.items():
                    load(port, scripts[shape], connections, 1.0)  # the first requests find cold caches
                    result = load(port, scripts[shape], connections, args.seconds)
                    runs[name][shape].append(result)
                    print(f"round {number + 1}, {name}, {shape}: {result}", flush=True)
    found = {name: {shape: medians(results) for shape, results in shapes.items()} for name, shapes in runs.items()}
    record: dict[str, Any] = {
        "machine": f"{processor()}, load generator included",
        "workers": args.workers,
        "api_servers": args.api_servers,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "servers": found,
    }
    name = "serving" if args.workers == 1 else "serving_workers"
    if len(args.backends) > 1 and args.workers == 1:
        rows = serving_backends.read_rows(args.data)
        record["backends"] = serving_backends.compare(args.bundle, rows, args.backends, rounds=5 * args.rounds)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    text = table(record)
    (args.results / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def write_scripts(bundle: Path, data: Path, folder: Path) -> dict[str, Path]:
    """Wrk's scripts, and beside each a file with a body on each line."""
    from mlpipe.bundle.ensemble import read_contents

    names = [column.name for column in read_contents(bundle).schema.features]
    frame = pl.read_parquet(data) if data.suffix == ".parquet" else pl.read_csv(data)
    sample = frame.select(names).sample(min(frame.height, 6_400), seed=0)
    rows = [json.dumps(json.loads(line)) for line in sample.write_ndjson().splitlines()]
    scripts = {}
    for shape, (_, many) in SHAPES.items():
        groups = [rows[start : start + many] for start in range(0, len(rows) - many + 1, many)]
        bodies = [group[0] if many == 1 else f"[{', '.join(group)}]" for group in groups]
        (folder / f"{shape}.txt").write_text("\n".join(bodies) + "\n", encoding="utf-8")
        scripts[shape] = folder / f"{shape}.lua"
        scripts[shape].write_text(BODIES % (folder / f"{shape}.txt") + RESULT, encoding="utf-8")
    return scripts


def mlpipe(bundle: Path, backend: str, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "mlpipe", "serve", str(bundle), *options, "--backend", backend, "--quiet"]


def peer(name: str) -> list[str]:
    return [sys.executable, str(HERE / "serving_peers.py"), name]


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[int]:
    """A server on a free port, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], start_new_session=True)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} has ended with exit code {process.returncode}.")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # LitServe has no handler for SIGTERM
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def load(port: int, script: Path, connections: int, seconds: float) -> dict[str, float]:
    """What wrk finds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script)]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    found = re.search(r"^RESULT (\S+) (\S+) (\S+) (\d+) (\d+)$", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk said:\n{output}")
    rate, median, last, failed, timeouts = map(float, found.groups())
    return {"rate": rate, "p50_ms": median, "p99_ms": last, "errors": failed + timeouts}


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    found = {key: statistics.median(result[key] for result in results) for key in results[0]}
    return {**found, "errors": sum(result["errors"] for result in results)}


def table(record: dict[str, Any]) -> str:
    """The results as Markdown; throughput as a multiple of the stock LitServe's."""
    stock = record["servers"]["LitServe, no work"]
    lines = [
        "| server | one connection: p50, p99 | 64 connections: requests/s | × LitServe | p99 | 64 rows each: rows/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, shapes in record["servers"].items():
        one, many, rows = shapes["one"], shapes["many"], shapes["rows"]
        cells = [
            name,
            f"{one['p50_ms']:.1f} ms, {one['p99_ms']:.1f} ms",
            f"{many['rate']:,.0f}",
            f"{many['rate'] / stock['many']['rate']:.1f}",
            f"{many['p99_ms']:.0f} ms",
            f"{rows['rate'] * SHAPES['rows'][1]:,.0f}" if name.startswith("mlpipe") else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    errors = sum(shape["errors"] for shapes in record["servers"].values() for shape in shapes.values())
    lines.append(
        f"\n{record['rounds']} rounds of {record['seconds']:g} s each, medians; {record['workers']} worker(s), "
        f"{record['api_servers']} API process(es), {record['machine']}; {errors:,.0f} errors."
    )
    if backends := record.get("backends"):
        lines.append(
            "\nPreprocessed rows in, answers out, on one thread, without a server; × is to torch, in brackets the "
            f"lowest and the highest of {5 * record['rounds']} rounds in turn:\n"
        )
        lines.append(serving_backends.table(backends).rstrip("\n"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
