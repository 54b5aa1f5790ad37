"""The server for a long time at 60 % of what it can do, and for a short time at five times that.

    python benchmarks/serving_soak.py --bundle B --data flights.parquet [--backend torch] [--seconds 600]
                                      [--overload 5] [--overload-seconds 30] [--workers 1] [--api-servers 1]

The capacity is what wrk gets over 64 connections, one row a request. Then

- requests are sent at 60 % of it, at times that do not wait for answers: errors, waiting times, and the memory of all
  processes, whose slope is that of a line through the last three quarters;
- 2,000 connections ask for five times the capacity: each waits for its answer and then as long as makes that rate. How
  many are answered by a prediction, how many are turned away (503), and whether health answers.

Writes results/serving_soak.{json,md}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from serving import BODIES, HERE, load, mlpipe, running, write_scripts

SHARE = 0.6
CONNECTIONS = 2_000
PACED = """
delay = function() return math.random(0, %(delay)d) end
done = function(summary)
  io.write(string.format("RESULT %%f %%d %%d %%d\\n", summary.duration / 1e6, summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a table with the bundle's columns")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--seconds", type=float, default=600, help="at 60 %% (default: %(default)g)")
    parser.add_argument("--overload", type=float, default=5, help="times the capacity (default: %(default)g)")
    parser.add_argument("--overload-seconds", type=float, default=30, help="(default: %(default)g)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        print("error: the load comes from wrk, which is not there: apt install wrk", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        record = measure(args, Path(folder))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "serving_soak.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (args.results / "serving_soak.md").write_text(text := table(record), encoding="utf-8")
    print(text)
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it, on one server."""
    scripts = write_scripts(args.bundle, args.data, folder)
    options = ["--workers", str(args.workers), "--api-servers", str(args.api_servers)]
    with running(mlpipe(args.bundle, args.backend, options)) as port:
        load(port, scripts["many"], 64, 2.0)  # the first requests find cold caches
        capacity = load(port, scripts["many"], 64, 15.0)["rate"]
        bodies = scripts["one"].with_suffix(".txt")
        soaked = soak(port, bodies, SHARE * capacity, args.seconds)
        print(f"capacity {capacity:,.0f}/s, soak {soaked}", flush=True)
        overloaded = overload(port, bodies, args.overload * capacity, args.overload_seconds)
    return {
        "machine": f"{os.cpu_count()} cores, load generator included",
        "backend": args.backend,
        "workers": args.workers,
        "api_servers": args.api_servers,
        "capacity": capacity,
        "soak": soaked,
        "overload": overloaded,
    }


def soak(port: int, bodies: Path, rate: float, seconds: float) -> dict[str, float]:
    """Requests at a rate, whether or not the earlier ones were answered; a process of its own sends them."""
    command = [sys.executable, str(HERE / "serving_peers.py"), "load", "--port", str(port)]
    command += ["--bodies", str(bodies), "--rate", str(rate), "--seconds", str(seconds)]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    started, memory = time.monotonic(), []
    while sender.poll() is None:
        time.sleep(min(5.0, seconds / 20))
        memory.append((time.monotonic() - started, resident(port)))
    assert sender.stdout is not None  # it is a pipe
    found: dict[str, float] = json.loads(sender.stdout.read())
    settled = np.array(memory[len(memory) // 4 : -1])  # the first quarter fills caches
    slope = float(np.polyfit(settled[:, 0] / 60, settled[:, 1], 1)[0]) if len(settled) > 2 else float("nan")
    return {**found, "rate": rate, "seconds": seconds, "resident_mib": memory[-2][1], "mib_per_minute": slope}


def resident(port: int) -> float:
    """MiB of all processes that belong to the server's session."""
    leader = session_of(port)
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def session_of(port: int) -> int:
    """The session of the process whose command line has the port."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if b"serve" in words and str(port).encode() in words:
                return os.getsid(int(command.parent.name))
    raise SystemExit("The server is gone.")


@dataclass
class Health:
    """Asks for health ten times a second, and keeps what it is told."""

    port: int
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def watched(self) -> Any:
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            start = time.perf_counter()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=10) as answer:
                    self.statuses[answer.status] += 1
            except urllib.error.HTTPError as error:
                self.statuses[error.code] += 1
            except OSError:
                self.statuses[0] += 1
            self.seconds.append(time.perf_counter() - start)


def overload(port: int, bodies: Path, rate: float, seconds: float) -> dict[str, Any]:
    """More requests than can be answered."""
    script = bodies.with_suffix(".overload.lua")
    script.write_text(BODIES % bodies + PACED % {"delay": 2_000 * CONNECTIONS / rate}, encoding="utf-8")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(script)]
    health = Health(port)
    with health.watched():
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True, timeout=seconds + 120
        ).stdout
    found = re.search(r"^RESULT (\S+) (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk said:\n{output}")
    duration, requests, refused, failed = map(float, found.groups())
    return {
        "asked": rate,
        "offered": requests / duration,
        "answered": (requests - refused) / duration,
        "refused": refused / duration,
        "errors": failed,
        "health": dict(health.statuses),
        "health_p99_ms": float(np.quantile(health.seconds, 0.99)) * 1e3,
    }


def table(record: dict[str, Any]) -> str:
    """The results in sentences."""
    soaked, over, capacity = record["soak"], record["overload"], record["capacity"]
    health = f"{over['health'].get(200, 0):,} of {sum(over['health'].values()):,} times"
    return (
        f"At {soaked['rate']:,.0f} requests/s, 60 % of what it can do, for {soaked['seconds']:,.0f} s "
        f"({record['backend']}, {record['workers']} worker(s), {record['api_servers']} API process(es), "
        f"{record['machine']}), sent whether or not earlier ones were answered: {soaked['errors']:,.0f} errors, "
        f"p50 {soaked['p50_ms']:.1f} ms, p99 {soaked['p99_ms']:.1f} ms, memory {soaked['resident_mib']:,.0f} MiB, "
        f"{soaked['mib_per_minute']:+.2f} MiB a minute.\n\n"
        f"Of {over['offered'] / capacity:.1f} times its capacity over {CONNECTIONS:,} connections, "
        f"{over['answered'] / capacity:.0%} of the capacity was answered by predictions, the rest was turned away; "
        f"{over['errors']:,.0f} connections failed, and health answered {health}, "
        f"with a p99 of {over['health_p99_ms']:.0f} ms.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
