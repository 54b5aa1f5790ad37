"""`Settings`: everything that `mlpipe serve` can be told, checked; standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Checks:
    """How strictly rows are taken.

    Attributes:
        unknown: Whether a field that is no column of the table is an error or ignored.
        ranges: Whether a number that is smaller or larger than all in training is an error; a model extrapolates badly.
    """

    unknown: Literal["error", "ignore"] = "error"
    ranges: Literal["error", "ignore"] = "ignore"


@dataclass(frozen=True)
class Limits:
    """What the server does not go beyond.

    Attributes:
        body: Bytes of a request's body; a longer one is answered by 413.
        bodies: Bytes of all bodies that are held at once; what goes beyond is answered by 503.
        body_seconds: Time in which a body has to arrive; a slower one is answered by 408.
        head_seconds: Time in which a request's line and headers have to arrive; else the connection is closed.
        deadline: Seconds after which a request that was not answered is answered by 504, whatever holds it up.
        queue: Requests that may wait or be worked on; more are answered by 503.
        rate: Requests per second that one client may send; more are answered by 429. None: any number.
    """

    body: int = 64 * 2**20
    bodies: int = 512 * 2**20
    body_seconds: float = 10.0
    head_seconds: float = 10.0
    deadline: float = 10.0
    queue: int = 1_024
    rate: float | None = None


@dataclass(frozen=True)
class Traffic:
    """Which of the versions answers a request.

    Attributes:
        shares: Of the requests, by slot; they sum to 1. Empty: the first slot answers all.
        shadow: The slot that is asked everything that another one has answered, for the metrics and the request log
            alone. None: there is no such.
    """

    shares: tuple[float, ...] = ()
    shadow: int | None = None


@dataclass(frozen=True)
class Recording:
    """What is kept of requests and their answers.

    Attributes:
        folder: Where Parquet files are written.
        sample: The share of the requests that is kept.
        redacted: Columns that are not.
    """

    folder: Path
    sample: float = 1.0
    redacted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How bundles are served.

    Attributes:
        host: `127.0.0.1`, `0.0.0.0` or `::`.
        port: Of the public address.
        workers: Processes that predict, with one thread each.
        api_servers: Processes that speak HTTP.
        batch: Requests that go through the model together, at most.
        backend: What runs the models; see `mlpipe.bundle.backends`.
        drain: Seconds between saying that the server is not ready any more and closing its port.
        name: Under which the model is served.
        keys: API keys, one of which a client has to send; empty: none is needed.
        admin_key: The key of `/admin`; None: there is no such address.
        admin_port: Where `/admin` is, on the loopback address alone.
        access_log: Whether every request is logged.
        checks: How strictly rows are taken.
        limits: What the server does not go beyond.
        traffic: Which of the versions answers a request.
        recording: What is kept of requests; None: nothing.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    api_servers: int = 1
    batch: int = 64
    backend: str = "auto"
    drain: float = 1.0
    name: str = "model"
    keys: tuple[str, ...] = ()
    admin_key: str | None = None
    admin_port: int | None = None
    access_log: bool = False
    checks: Checks = field(default_factory=Checks)
    limits: Limits = field(default_factory=Limits)
    traffic: Traffic = field(default_factory=Traffic)
    recording: Recording | None = None


@dataclass(frozen=True)
class Slot:
    """One version to be served.

    Attributes:
        folder: Of its bundle.
        label: The alias that led to it, if one did; in metrics.
    """

    folder: Path
    label: str = ""
