"""`mlpipe models`: versions of bundles in a registry, and the words that point to them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe.commands.tables import number, print_table
from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.registry import CHALLENGER, Registry
from mlpipe.serving.reload import ReloadError, check_address, reload_server
from mlpipe.serving.versions import open_registry, resolve

if TYPE_CHECKING:
    from mlpipe.serving.differences import Facts

logger = logging.getLogger(__name__)

ADMIN_KEY = "MLPIPE_ADMIN_KEY"

#: The parts of the data whose metrics are shown, the first that a bundle has, and which of them.
_PARTS = ("test", "validation", "mean")
_FIRST = ("log_loss", "auroc", "accuracy", "rmse", "mae", "r2")


def run(args: argparse.Namespace) -> int:
    """Do what `args.command` says; 1 if a server that was told to reload did not."""
    return _COMMANDS[args.command](args)


def _list(args: argparse.Namespace) -> int:
    registry = open_registry(args.registry)
    names = registry.names() if args.name is None else [args.name]
    found = [version for name in names for version in registry.versions(name)]
    if args.json:
        print(json.dumps([asdict(version) for version in found], indent=1))
        return 0
    if not found:
        print(f"No model is registered in {registry.where}; `mlpipe models register BUNDLE NAME` brings the first one.")
        return 0
    metrics = [main_metrics(version.metrics, most=2) for version in found]
    shown = sorted({name for values in metrics for name in values}, key=_FIRST.index)
    rows = [
        [
            f"{version.name}/{version.number}",
            version.version or "damaged",
            version.created[:10],
            *(number(values.get(name)) for name in shown),
            ", ".join(version.aliases),
        ]
        for version, values in zip(found, metrics, strict=True)
    ]
    print_table(["model", "version", "created", *shown, "aliases"], rows)
    for version in found:
        if version.fault is not None:
            logger.warning(version.fault)
    return 0


def _register(args: argparse.Namespace) -> int:
    registry = open_registry(args.registry)
    version = registry.register(Path(args.bundle), args.name, args.alias)
    pointed = f", and {args.alias}" if args.alias else ""
    print(f"{args.name} {version.number}{pointed}: bundle {version.version} in {registry.where}")
    return 0


def _promote(args: argparse.Namespace) -> int:
    from mlpipe.serving.differences import facts, incompatibility

    if args.number is not None and args.source is not None:
        raise ConfigError("Either NUMBER or --from says which version to promote, not both.")
    server = _server(args)
    registry = open_registry(args.registry)
    chosen = args.number or registry.history(args.name, args.source or CHALLENGER)[-1].number
    registry.check_number(args.name, chosen)
    before = registry.alias_number(args.name, args.to)
    if before == chosen:
        print(f"{args.to} of {args.name} is version {chosen} already.")
        return _reload(args, server, registry)
    new = facts(registry.folder(args.name, chosen))
    changes = ""
    if before is not None and (old := _present(args, registry, before)) is not None:
        if not args.force and (why := incompatibility(old, new)) is not None:
            raise ConfigError(
                f"Version {chosen} of {args.name!r} {why}, unlike version {before}, which is {args.to} now; "
                "--force promotes it all the same."
            )
        changes = _changes(old.manifest.metrics, new.manifest.metrics)
    registry.promote(args.name, chosen, args.to)
    print(f"{args.to} of {args.name}: {'nothing' if before is None else before} → {chosen}{changes}")
    return _reload(args, server, registry)


def _present(args: argparse.Namespace, registry: Registry, number: int) -> Facts | None:
    """The version that an alias leads to now; None if it is damaged, which `--force` passes over."""
    from mlpipe.serving.differences import facts

    try:
        return facts(registry.folder(args.name, number))
    except BundleError:
        if args.force:
            return None
        raise


def _rollback(args: argparse.Namespace) -> int:
    server = _server(args)
    registry = open_registry(args.registry)
    left, now = registry.rollback(args.name, args.alias)
    print(f"{args.alias} of {args.name}: {left} → {now}")
    return _reload(args, server, registry)


def _diff(args: argparse.Namespace) -> int:
    from mlpipe.commands.models_views import show_difference
    from mlpipe.serving.differences import difference, facts

    words = args.words[-2:]
    references = _two_versions(args.words)
    registry = open_registry(args.registry) if any(word.startswith("models:") for word in references) else None
    first, second = (resolve(word, registry).folder for word in references)
    found = difference(facts(first), facts(second))
    if args.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        show_difference(found, words)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from mlpipe.commands.models_views import show_comparison
    from mlpipe.serving.comparison import compare_versions
    from mlpipe.serving.requestlog import read_answers

    answers = read_answers(args.requests, args.outcomes, on=args.on, target=args.target)
    comparison = compare_versions(answers, args.metric)
    if args.json:
        print(json.dumps(asdict(comparison), indent=1))
    else:
        show_comparison(comparison)
    return 0


def main_metrics(metrics: Mapping[str, Any], most: int = 3) -> dict[str, float]:
    """The few metrics that a line has room for: of the test rows, else of the validation rows, else over the folds.

    Examples:
        >>> main_metrics({"validation": {"rmse": 2.0}, "test": {"r2": 0.5, "rmse": 3.0}, "train_seconds": 9.0})
        {'rmse': 3.0, 'r2': 0.5}
    """
    parts = (metrics.get(part) for part in _PARTS)
    values: Mapping[str, float] = next((part for part in parts if isinstance(part, Mapping) and part), {})
    names = [name for name in _FIRST if values.get(name) is not None]
    return {name: values[name] for name in names[:most]}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The metrics that both have, before and after, in one line."""
    before, after = main_metrics(old), main_metrics(new)
    shared = [f"{name} {number(before[name])} → {number(after[name])}" for name in before if name in after]
    return f"; {', '.join(shared)}" if shared else ""


def _two_versions(words: Sequence[str]) -> tuple[str, str]:
    """Two references, from NAME A B or from the references themselves."""
    if len(words) == 2:
        return words[0], words[1]
    if len(words) != 3:
        raise ConfigError("`mlpipe models diff` takes NAME and two of its numbers or aliases, or two paths of bundles.")
    name, *ends = words
    first, second = (f"models:/{name}{'/' if end.isdecimal() else '@'}{end}" for end in ends)
    return first, second


def _server(args: argparse.Namespace) -> tuple[str, str] | None:
    """The address and the key of the server to tell; found before anything is changed."""
    if args.server is None:
        if args.admin_key_file is not None:
            raise ConfigError("--admin-key-file is of use with --server alone.")
        return None
    address = check_address(args.server)
    if args.admin_key_file is not None:
        try:
            key = Path(args.admin_key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--admin-key-file {args.admin_key_file!r} cannot be read ({error}).") from None
    else:
        key = os.environ.get(ADMIN_KEY, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        place = args.admin_key_file or f"the environment variable {ADMIN_KEY}"
        raise ConfigError(f"--server needs the server's admin key, and {place} has none.")
    return address, key


def _reload(args: argparse.Namespace, server: tuple[str, str] | None, registry: Registry) -> int:
    if server is None:
        return 0
    alias = args.to if args.command == "promote" else args.alias
    try:
        version = reload_server(*server)
    except ReloadError as error:
        stands = registry.alias_number(args.name, alias)
        sys.stderr.write(f"error: {error}. In {registry.where} {alias} of {args.name} is version {stands}.\n")
        return 1
    print(f"{server[0]} answers with {version}")
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "register": _register,
    "promote": _promote,
    "rollback": _rollback,
    "diff": _diff,
    "compare": _compare,
}
