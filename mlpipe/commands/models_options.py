"""The commands of `mlpipe models` and their options."""

from __future__ import annotations

import argparse

from mlpipe.commands.values import count


def models(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, (help_, add) in _COMMANDS.items():
        add(commands.add_parser(name, help=help_, description=help_))


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of one model (default: all)")
    _registry(parser)
    _json(parser)


def _register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle that `mlpipe export` wrote")
    parser.add_argument("name", metavar="NAME", help="of the model; a new one begins with version 1")
    parser.add_argument("--alias", metavar="ALIAS", help="let this alias point to it, such as challenger")
    _registry(parser)


def _promote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model")
    parser.add_argument("number", metavar="NUMBER", nargs="?", type=count, help="the version (default: that of --from)")
    parser.add_argument("--from", dest="source", metavar="ALIAS", help="the version of an alias (default: challenger)")
    parser.add_argument("--to", metavar="ALIAS", default="champion", help="the alias to move (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="also if it has another task or other columns")
    _server(parser)
    _registry(parser)


def _rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model")
    parser.add_argument("--alias", metavar="ALIAS", default="champion", help="to move back (default: %(default)s)")
    _server(parser)
    _registry(parser)


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="VERSION",
        nargs="+",
        help="NAME and two of its numbers or aliases; or two paths of bundles, or models:/NAME@ALIAS",
    )
    _registry(parser)
    _json(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", metavar="FILE", required=True, help="the request log of a server")
    parser.add_argument("--outcomes", metavar="FILE", required=True, help="a table of what came true")
    parser.add_argument(
        "--on", metavar="COLUMN", default="request_id", help="the identifier in both files (default: %(default)s)"
    )
    parser.add_argument("--target", metavar="COLUMN", required=True, help="the outcome's column")
    parser.add_argument(
        "--metric",
        choices=("accuracy", "log_loss", "auroc", "rmse", "mae"),
        help="what better means (default: log_loss for classes, rmse for numbers)",
    )
    _json(parser)


def _registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        metavar="PLACE",
        help="a folder, or the address of an MLflow store (default: MLPIPE_REGISTRY, else where `mlpipe fit` tracks)",
    )


def _server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="then tell the server with this admin address to reload")
    parser.add_argument(
        "--admin-key-file", metavar="FILE", help="the server's admin key (default: the one in MLPIPE_ADMIN_KEY)"
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


_COMMANDS = {
    "list": ("show what is registered", _list),
    "register": ("make a bundle the next version of a model", _register),
    "promote": ("let an alias point to another version", _promote),
    "rollback": ("let an alias point to the version before", _rollback),
    "diff": ("show what differs between two versions", _diff),
    "compare": ("say which version predicted better, from a request log and what came true", _compare),
}
