"""The server for a long time at 60 % of what it can do, and for a short time at five times that.

    python benchmarks/serving_soak.py --bundle B --data flights.parquet [--backend torch] [--seconds 600]
                                      [--overload 5] [--overload-seconds 30] [--workers 1] [--api-servers 1]
                                      [--overload-only]

The load comes from `openloop.c`, which is compiled first (`apt install gcc`): one thread on the same machine, one row
a request, each measured from the time at which it was due.

The capacity is the rate of answers when each of 64 connections, and then of 512, sends as soon as it is answered; the
higher of the two. The queue holds more than those, so that nothing is refused. Then

- requests are due at 60 % of it, whether or not earlier ones were answered, over 256 connections: errors, waiting
  times, and the memory of each process (its resident pages, also those that it has in common with others) with the
  slope of a line through the last three quarters;
- requests are due at five times the capacity, over 2,000 connections. The capacity is measured anew right before and
  right after, since a machine that is shared has more to give at one time than at another; shares are of the mean. How
  many are answered by a prediction within the time, how many are refused (503), how many find every connection waiting
  and so are not sent (the server does not read those that it has just refused), whether health answers, and how many of
  the machine's cores the sender takes for itself: what it takes, the server has not.

Writes results/serving_soak.{json,md}; with `--overload-only` the soak that is there stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
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
from serving import HERE, mlpipe, running, write_scripts

SHARE = 0.6
CAPACITY_CONNECTIONS, SOAK_CONNECTIONS, OVERLOAD_CONNECTIONS = (64, 512), 256, 2_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a table with the bundle's columns")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--seconds", type=float, default=600, help="at 60 %% (default: %(default)g)")
    parser.add_argument("--overload", type=float, default=5, help="times the capacity (default: %(default)g)")
    parser.add_argument("--overload-seconds", type=float, default=30, help="(default: %(default)g)")
    parser.add_argument("--overload-only", action="store_true", help="keep the soak that was measured before")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if shutil.which("cc") is None:
        print("error: the load's sender has to be compiled, and there is no cc: apt install gcc", file=sys.stderr)
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
    bodies = write_scripts(args.bundle, args.data, folder)["one"].with_suffix(".txt")
    compiler = shutil.which("cc")
    assert compiler is not None  # `main` has looked
    subprocess.run([compiler, "-O2", "-o", folder / "openloop", HERE / "openloop.c", "-lm"], check=True)
    options = ["--workers", str(args.workers), "--api-servers", str(args.api_servers)]
    with running(mlpipe(args.bundle, args.backend, options)) as port:
        sender = Sender(folder / "openloop", port, bodies)
        sender(0, 3, CAPACITY_CONNECTIONS[0])  # the first requests find cold caches
        if args.overload_only:
            known = json.loads((args.results / "serving_soak.json").read_text(encoding="utf-8"))
            capacity, soaked = known["capacity"], known["soak"]
        else:
            capacity = measure_capacity(sender)
            print(f"capacity {capacity:,.0f}/s", flush=True)
            soaked = soak(sender, SHARE * capacity, args.seconds)
            print(f"soak {soaked}", flush=True)
        overloaded = overload(sender, args.overload, args.overload_seconds)
    return {
        "machine": f"{os.cpu_count()} cores, load generator included",
        "backend": args.backend,
        "workers": args.workers,
        "api_servers": args.api_servers,
        "capacity": capacity,
        "soak": soaked,
        "overload": overloaded,
    }


def measure_capacity(sender: Sender) -> float:
    """Answers a second, if each connection sends as soon as it is answered."""
    found = [sender(0, 15, connections) for connections in CAPACITY_CONNECTIONS]
    return max(one["answered"] / one["seconds"] for one in found)


@dataclass(frozen=True)
class Sender:
    """Sends requests to a server; what it finds is told in `openloop.c`."""

    program: Path
    port: int
    bodies: Path

    def __call__(self, rate: float, seconds: float, connections: int) -> dict[str, float]:
        """Requests at a rate; 0: as soon as a connection is free."""
        with self.started(rate, seconds, connections) as process:
            return self.told(process)

    def started(self, rate: float, seconds: float, connections: int) -> subprocess.Popen[str]:
        words = [self.program, self.port, self.bodies, rate, seconds, connections]
        return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)

    @staticmethod
    def told(process: subprocess.Popen[str]) -> dict[str, float]:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"The sender has ended with exit code {process.returncode}.")
        found: dict[str, float] = json.loads(output)
        return found


def soak(sender: Sender, rate: float, seconds: float) -> dict[str, Any]:
    """Requests at a rate, whether or not the earlier ones were answered."""
    memory: list[tuple[float, dict[str, float]]] = []
    with sender.started(rate, seconds, SOAK_CONNECTIONS) as process:
        started = time.monotonic()
        while process.poll() is None and time.monotonic() - started < seconds:
            memory.append((time.monotonic() - started, resident(sender.port)))
            time.sleep(min(5.0, seconds / 20))
        found = sender.told(process)
    settled = memory[len(memory) // 4 :]  # the first quarter fills caches
    minutes = [second / 60 for second, _ in settled]
    last, slopes = settled[-1][1], {}
    for name in last:
        slopes[name] = float(np.polyfit(minutes, [sizes.get(name, 0.0) for _, sizes in settled], 1)[0])
    errors = found["refused"] + found["other"] + found["lost"] + found["due"] - found["sent"]
    return {
        **found,
        "errors": errors,
        "rate": rate,
        "resident_mib": sum(last.values()),
        "mib_per_minute": sum(slopes.values()),
        "by_process": {name: {"mib": last[name], "mib_per_minute": slopes[name]} for name in slopes},
    }


def resident(port: int) -> dict[str, float]:
    """MiB of each process of the server."""
    leader = leader_of(port)
    sizes: dict[str, float] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) != leader:
                continue
            pid, command = int(status.parent.name), (status.parent / "cmdline").read_bytes()
            kind = "supervisor" if pid == leader else "api" if b"mlpipe" in command else "worker"
            if b"resource_tracker" not in command:
                sizes[f"{kind} {pid}"] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return sizes


def leader_of(port: int) -> int:
    """The first process of the session of that whose command line has the port."""
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


def overload(sender: Sender, times: float, seconds: float) -> dict[str, Any]:
    """Several times as many requests as can be answered."""
    health, before = Health(sender.port), measure_capacity(sender)
    with health.watched():
        found = sender(times * before, seconds, OVERLOAD_CONNECTIONS)
    capacity = statistics.mean((before, after := measure_capacity(sender)))
    print(f"capacity {before:,.0f}/s before and {after:,.0f}/s after the overload", flush=True)
    per_second = {name: found[name] / found["seconds"] for name in ("due", "sent", "answered", "refused")}
    return {
        **found,
        **per_second,
        "capacity": capacity,
        "errors": found["other"] + found["lost"],
        "health": dict(health.statuses),
        "health_p99_ms": float(np.quantile(health.seconds, 0.99)) * 1e3,
    }


def table(record: dict[str, Any]) -> str:
    """The results in sentences."""
    soaked, over, capacity = record["soak"], record["overload"], record["overload"]["capacity"]
    health = f"{over['health'].get(200, 0):,} of {sum(over['health'].values()):,} times"
    return (
        f"At {soaked['rate']:,.0f} requests/s, 60 % of what it can do, for {soaked['seconds']:,.0f} s "
        f"({record['backend']}, {record['workers']} worker(s), {record['api_servers']} API process(es), "
        f"{record['machine']}), sent whether or not earlier ones were answered: {soaked['errors']:,.0f} errors, "
        f"p50 {soaked['p50_ms']:.1f} ms, p99 {soaked['p99_ms']:.1f} ms, memory {soaked['resident_mib']:,.0f} MiB, "
        f"{soaked['mib_per_minute']:+.2f} MiB a minute.\n\n"
        f"Asked for {over['due'] / capacity:.1f} times its capacity over {OVERLOAD_CONNECTIONS:,} connections, it "
        f"answered {over['answered'] / capacity:.0%} of the capacity by predictions and refused "
        f"{over['refused'] / capacity:.1f} times the capacity; {1 - over['sent'] / over['due']:.0%} were not sent, "
        "since all connections waited: those that were refused are not read for a second. "
        f"{over['errors']:,.0f} requests failed otherwise, health answered {health}, with a p99 of "
        f"{over['health_p99_ms']:.0f} ms, and the sender took {over['cpu']:.1f} of the "
        "machine's cores.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
