"""What commands print: metrics and the parts of a table, aligned, on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_metrics(metrics: Mapping[str, Mapping[str, float]], title: str = "Metrics") -> None:
    """A row per metric, a column per part."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [[name, *(number(values.get(name)) for values in metrics.values())] for name in names]
    print_table([title.lower(), *metrics], rows)


def print_parts(balance: Sequence[Mapping[str, Any]]) -> None:
    """A row per part of the split: its size, and the class balance or the target's mean and spread."""
    if balance:
        columns = list(dict.fromkeys(name for record in balance for name in record))
        print_table(columns, [[number(record.get(name)) for name in columns] for record in balance])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right; every text stands there as it is.

    A plain `str` would be markup to rich: names of columns and classes may hold brackets, as in `speed [km/h]`.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(Text(str(name)), justify=justify, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def number(value: Any) -> str:
    """A cell: four significant decimals for fractions, thousands set apart for counts.

    Examples:
        >>> number(0.91234567), number(12345), number(None), number("train")
        ('0.9123', '12,345', '–', 'train')
    """
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return shares(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def shares(classes: Mapping[str, float], most: int = 5) -> str:
    """Classes by their share, the largest first.

    Examples:
        >>> shares({"no": 0.2, "yes": 0.8})
        'yes 80.0%, no 20.0%'
    """
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {share:.1%}" for name, share in ordered[:most])
    return shown + (f", … {len(ordered)} classes" if len(ordered) > most else "")
