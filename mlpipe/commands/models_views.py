"""What `mlpipe models diff` and `compare` print, on one screen each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe.commands.tables import number, print_table
from mlpipe.errors import how_many
from mlpipe.serving.comparison import MIN_ROWS, Comparison, Duel
from mlpipe.serving.differences import Difference, Pair

#: Lines of one kind, and characters of a value; `--json` has all.
_LINES, _WIDTH = 12, 32


def show_difference(found: Difference, names: Sequence[str]) -> None:
    """Print what differs between two bundles."""
    columns = list(names)
    sizes = {"bytes", "weights_bytes"}
    about = [[name, *(_size(v) if name in sizes else _cell(v) for v in pair)] for name, pair in found.about.items()]
    print_table(["", *columns], about)
    metrics = [
        [f"{part} {name}", *map(number, pair), _change(pair)]
        for part, values in found.metrics.items()
        for name, pair in values.items()
    ]
    _section("metrics", [*columns, "change"], metrics)
    schema = [[f"task {name}", *map(_cell, pair)] for name, pair in found.task.items()]
    schema += [[f"column {name}", "–", kind] for name, kind in found.added.items()]
    schema += [[f"column {name}", kind, "–"] for name, kind in found.removed.items()]
    schema += [[f"column {name}", *map(_cell, pair)] for name, pair in found.changed.items()]
    _section("schema", columns, schema)
    _section("model", columns, _pairs(found.model))
    _section("preprocessing", columns, _pairs(found.preprocessing))
    if found.fitted:
        shown = ", ".join(found.fitted[:_LINES]) + (", …" if len(found.fitted) > _LINES else "")
        print(f"{how_many(len(found.fitted), 'column')} with the same transformers, fitted to other values: {shown}")


def show_comparison(comparison: Comparison) -> None:
    """Print which version is better."""
    rows = [[score.version, f"{score.rows:,}", f"{score.served:,}", number(score.value)] for score in comparison.scores]
    print_table(["version", "requests", "served", comparison.metric], rows)
    if comparison.unknown:
        print(f"{how_many(comparison.unknown, 'answer has', 'answers have')} no outcome yet.")
    if not comparison.duels:
        print("There is only one version, so there is nothing to compare.")
    for duel in comparison.duels:
        print(verdict(duel, comparison.metric, comparison.method))


def verdict(duel: Duel, metric: str, method: str) -> str:
    """Two versions in two sentences.

    Examples:
        >>> duel = Duel("a1", "b2", True, (900, 900), (0.5, 0.4), -0.1, -0.12, -0.08, 0.95, "second")
        >>> print(verdict(duel, "log_loss", "BCa bootstrap"))
        b2 is better than a1. log_loss of b2 minus that of a1: -0.1000, 95 % interval -0.1200 to -0.0800 (900 requests
        that both answered, BCa bootstrap).
    """
    told = {
        "first": f"{duel.first} is better than {duel.second}.",
        "second": f"{duel.second} is better than {duel.first}.",
        "cannot tell": f"The data cannot tell {duel.second} and {duel.first} apart.",
    }[duel.better]
    first, second = duel.rows
    on = f"{first:,} requests that both answered" if duel.paired else f"{second:,} and {first:,} requests"
    few = f" Fewer than {MIN_ROWS} requests are too few to say." if min(duel.rows) < MIN_ROWS else ""
    interval = f"{duel.level * 100:.3g} % interval {number(duel.lower)} to {number(duel.upper)}"
    return (
        f"{told}{few} {metric} of {duel.second} minus that of {duel.first}: {number(duel.difference)}, {interval} "
        f"({on}, {method})."
    )


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    print_table([title, *columns], rows[:_LINES])
    if len(rows) > _LINES:
        print(f"… and {len(rows) - _LINES} more; --json has all.")


def _pairs(pairs: Mapping[str, Pair]) -> list[list[str]]:
    return [[name, *map(_cell, pair)] for name, pair in pairs.items()]


def _cell(value: Any) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _change(pair: Pair) -> str:
    both = all(isinstance(value, int | float) for value in pair)
    return f"{pair[1] - pair[0]:+.4f}" if both else "–"


def _size(count: int) -> str:
    return f"{count / 2**20:,.2f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"
