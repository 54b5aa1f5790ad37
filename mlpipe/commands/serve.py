"""`mlpipe serve`: put a bundle behind HTTP."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mlpipe.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from mlpipe.serving.server import serve
    from mlpipe.serving.settings import Checks, Limits, Settings, Slot
    from mlpipe.serving.versions import open_registry, resolve

    admin_key = os.environ.get("MLPIPE_ADMIN_KEY") or None
    if args.admin_port is not None and admin_key is None:
        raise ConfigError("--admin-port needs a key in the environment variable MLPIPE_ADMIN_KEY.")
    settings = Settings(
        host="127.0.0.1" if args.host == "localhost" else args.host,
        port=args.port,
        workers=args.workers,
        api_servers=args.api_servers,
        batch=args.batch,
        backend=args.backend,
        drain=args.drain,
        name=args.name,
        keys=api_keys(args.api_keys),
        admin_key=admin_key,
        admin_port=args.admin_port,
        access_log=args.access_log,
        checks=Checks(unknown=args.unknown, ranges=args.ranges),
        limits=Limits(
            body=int(args.max_body * 2**20),
            body_seconds=args.body_timeout,
            head_seconds=args.body_timeout,
            deadline=args.deadline,
            queue=args.queue,
            rate=args.rate_limit,
        ),
    )

    registry = open_registry(args.registry) if args.bundle.startswith("models:") else None

    def slots() -> list[Slot]:
        found = resolve(args.bundle, registry)
        return [Slot(found.folder, found.alias or "")]

    serve(slots, settings)
    return 0


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
