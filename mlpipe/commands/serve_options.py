"""The options of `mlpipe serve`, of which there are many; the defaults are those of `mlpipe.serving.settings`."""

from __future__ import annotations

import argparse

from mlpipe.bundle.manifest import BACKENDS
from mlpipe.commands.values import amount, count, port, seconds, share, weights


def serve(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        help="the bundle that `mlpipe export` wrote, or models:/NAME[@ALIAS], which is looked up again for each reload",
    )
    parser.add_argument("--registry", metavar="R", help="where models:/ are: a folder, or MLflow's address")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="(default: %(default)s)")
    parser.add_argument("--name", default="model", help="name of the model in /v2/models/NAME (default: %(default)s)")
    _processes(parser)
    _limits(parser)
    _keys(parser)
    _traffic(parser)
    _recording(parser)
    parser.add_argument(
        "--unknown",
        choices=("error", "ignore"),
        default="error",
        help="what a field that is no column is (default: %(default)s)",
    )
    parser.add_argument(
        "--ranges",
        choices=("error", "ignore"),
        default="ignore",
        help="what a number beyond those of training is (default: %(default)s)",
    )
    parser.add_argument("--access-log", action="store_true", help="log every request")


def _processes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("processes")
    group.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="what runs the model; auto measures (default: %(default)s)"
    )
    group.add_argument(
        "--workers", metavar="N", type=count, default=1, help="processes that predict (default: %(default)s)"
    )
    group.add_argument(
        "--api-servers", metavar="N", type=count, default=1, help="processes that speak HTTP (default: %(default)s)"
    )
    group.add_argument(
        "--batch", metavar="N", type=count, default=64, help="most requests predicted together (default: %(default)s)"
    )
    group.add_argument(
        "--drain",
        metavar="SECONDS",
        type=seconds,
        default=1.0,
        help="from SIGTERM until no new connections are taken (default: %(default)s)",
    )


def _limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--queue", metavar="N", type=count, default=1024, help="most requests at once; else 503 (default: %(default)s)"
    )
    group.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=amount,
        default=10.0,
        help="for an answer; else 504 (default: %(default)s)",
    )
    group.add_argument(
        "--max-body",
        metavar="MIB",
        type=amount,
        default=64.0,
        help="size of a request's body; else 413 (default: %(default)s)",
    )
    group.add_argument(
        "--max-bodies",
        metavar="MIB",
        type=amount,
        default=512.0,
        help="of all bodies that are held at once; else 503 (default: %(default)s)",
    )
    group.add_argument(
        "--body-timeout",
        metavar="SECONDS",
        type=amount,
        default=10.0,
        help="for a body to arrive; else 408 (default: %(default)s)",
    )
    group.add_argument(
        "--rate-limit",
        metavar="R",
        type=amount,
        help="requests per second of one client; else 429 (default: any number)",
    )


def _keys(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("keys")
    group.add_argument(
        "--api-keys",
        metavar="FILE",
        help="a key on each line, one of which clients have to send (default: those in MLPIPE_API_KEYS, by comma)",
    )
    group.add_argument(
        "--admin-port",
        metavar="PORT",
        type=port,
        help="of POST /admin/reload, on the loopback address, for the key in MLPIPE_ADMIN_KEY",
    )


def _traffic(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several versions of models:/NAME")
    group.add_argument(
        "--ab",
        metavar="ALIAS=WEIGHT,...",
        type=weights,
        help="share requests among aliases, such as champion=90,challenger=10; which one it is depends on X-Request-ID",
    )
    group.add_argument(
        "--shadow", metavar="ALIAS", help="ask this one too, return nothing of it, and compare the answers in /metrics"
    )


def _recording(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("request log")
    group.add_argument(
        "--request-log",
        metavar="FOLDER",
        help="write requests and answers there as Parquet, for `mlpipe drift` and `mlpipe models compare`",
    )
    group.add_argument(
        "--log-sample", metavar="SHARE", type=share, help="keep this share of the requests (default: all)"
    )
    group.add_argument(
        "--redact", metavar="COLUMN", action="append", help="leave this feature out; may be given several times"
    )
