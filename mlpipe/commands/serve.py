"""`mlpipe serve`: put a bundle behind HTTP."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipe.errors import ConfigError

if TYPE_CHECKING:
    from mlpipe.serving.settings import Recording


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from mlpipe.serving.apart import find_slots
    from mlpipe.serving.server import serve
    from mlpipe.serving.settings import Checks, Limits, Settings
    from mlpipe.serving.traffic import plan

    admin_key = os.environ.get("MLPIPE_ADMIN_KEY") or None
    if args.admin_port is not None and admin_key is None:
        raise ConfigError("--admin-port needs a key in the environment variable MLPIPE_ADMIN_KEY.")
    planned = plan(args.bundle, args.ab, args.shadow)
    settings = Settings(
        host="127.0.0.1" if args.host == "localhost" else args.host,
        port=args.port,
        workers=args.workers,
        api_servers=args.api_servers,
        batch=args.batch,
        backend=args.backend,
        drain=args.drain,
        name=served_name(args.name),
        keys=api_keys(args.api_keys),
        admin_key=admin_key,
        admin_port=args.admin_port,
        access_log=args.access_log,
        checks=Checks(unknown=args.unknown, ranges=args.ranges),
        limits=Limits(
            body=int(args.max_body * 2**20),
            bodies=int(args.max_bodies * 2**20),
            body_seconds=args.body_timeout,
            head_seconds=args.body_timeout,
            deadline=args.deadline,
            queue=args.queue,
            rate=args.rate_limit,
        ),
        traffic=planned.traffic,
        recording=recording(args.request_log, args.log_sample, args.redact),
    )
    serve(partial(find_slots, planned.references, args.registry), settings)
    return 0


def served_name(name: str) -> str:
    """The name of the model in addresses.

    Raises:
        ConfigError: It would not be one part of them.
    """
    if not name or "/" in name:
        raise ConfigError(f"--name {name!r} is not possible: it is one part of the address /v2/models/NAME.")
    return name


def recording(folder: str | None, sample: float | None, redacted: Sequence[str] | None) -> Recording | None:
    """What is to be kept of requests.

    Args:
        folder: Where; made if it is not there. None: nothing is kept.
        sample: The share of the requests; None: all.
        redacted: Columns that are left out.

    Raises:
        ConfigError: The folder cannot be written to, or the other options stand there without it.
    """
    from mlpipe.serving.settings import Recording

    if folder is None:
        for option, value in (("--log-sample", sample), ("--redact", redacted)):
            if value is not None:
                raise ConfigError(f"{option} needs --request-log FOLDER: where requests are logged.")
        return None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"--request-log {folder!r} is no folder to write to ({error.strerror}).") from None
    return Recording(path.absolute(), 1.0 if sample is None else sample, tuple(redacted or ()))


def api_keys(path: str | None) -> tuple[str, ...]:
    """The keys of a file, or of the environment.

    Args:
        path: A key on each line; lines that are empty or begin with # are none.

    Raises:
        ConfigError: The file is not there or has no key: a server that was to be locked would be open.
    """
    if path is None:
        return tuple(key.strip() for key in os.environ.get("MLPIPE_API_KEYS", "").split(",") if key.strip())
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-keys {path!r} cannot be read ({error}).") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not keys:
        raise ConfigError(f"--api-keys {path!r} has no key; write one on each line.")
    return keys
