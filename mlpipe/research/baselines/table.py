"""What comes out: a result per model, side by side as a table and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlpipe.research.baselines.prepared import Floats
from mlpipe.schema import TaskKind
from mlpipe.training.metrics import HIGHER_IS_BETTER

#: The metrics of a table that has to fit into a terminal, behind the one that the config watches.
SHORT: dict[TaskKind, tuple[str, ...]] = {
    TaskKind.BINARY: ("accuracy", "auroc", "log_loss"),
    TaskKind.MULTICLASS: ("accuracy", "auroc", "log_loss"),
    TaskKind.MULTILABEL: ("accuracy", "subset_accuracy", "auroc", "log_loss"),
    TaskKind.REGRESSION: ("rmse", "mae", "r2"),
}


@dataclass(frozen=True)
class BaselineResult:
    """How well a baseline (or a model beside it) does.

    Attributes:
        name: What it is.
        metrics: By part, `validation` and `test`, then by name; see `compute_metrics`.
        train_seconds: Wall time of the fit alone, without reading and preprocessing.
        rows_per_second: Of prediction, from preprocessed rows: those of the test, or of the validation.
        rounds: Trees or epochs that the validation rows have kept, where they are known and of one model.
        outputs: By part: (T, O) probabilities of the rows, or values in the target's own units.
    """

    name: str
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    train_seconds: float = 0.0
    rows_per_second: float | None = None
    rounds: int | None = None
    outputs: Mapping[str, Floats] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the outputs."""
        return {
            "name": self.name,
            **{part: dict(values) for part, values in self.metrics.items()},
            "train_seconds": self.train_seconds,
            "rows_per_second": self.rows_per_second,
            "rounds": self.rounds,
        }


def ranked(results: Sequence[BaselineResult], part: str, metric: str) -> list[BaselineResult]:
    """The best first; those that lack the metric last.

    Examples:
        >>> a, b = BaselineResult("a", {"test": {"rmse": 2.0}}), BaselineResult("b", {"test": {"rmse": 1.0}})
        >>> [result.name for result in ranked([a, BaselineResult("c"), b], "test", "rmse")]
        ['b', 'a', 'c']
    """
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    return sorted(results, key=lambda result: sign * result.metrics.get(part, {}).get(metric, sign * float("inf")))


def table_cells(
    results: Sequence[BaselineResult], part: str = "test", metrics: Sequence[str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """The header and a row of cells per result: its name, its metrics, training seconds, predicted rows per second.

    Args:
        results: Of the same task.
        part: Whose metrics.
        metrics: Which; None: all that any of them has.
    """
    if metrics is None:
        metrics = list(dict.fromkeys(name for result in results for name in result.metrics.get(part, {})))
    rows = []
    for result in results:
        values = result.metrics.get(part, {})
        cells = [_digits(values[name]) if name in values else "" for name in metrics]
        speed = "" if result.rows_per_second is None else f"{result.rows_per_second:,.0f}"
        rows.append([result.name, *cells, f"{result.train_seconds:.1f}", speed])
    return ["model", *metrics, "train s", "rows/s"], rows


def render_table(results: Sequence[BaselineResult], part: str = "test", metrics: Sequence[str] | None = None) -> str:
    """`table_cells` as an aligned Markdown table.

    Examples:
        >>> print(render_table([BaselineResult("linear", {"test": {"rmse": 1.5, "r2": 0.25}}, 2.0, 12_345.6)]))
        | model  |   rmse |     r2 | train s | rows/s |
        |:-------|-------:|-------:|--------:|-------:|
        | linear | 1.5000 | 0.2500 |     2.0 | 12,346 |
    """
    header, body = table_cells(results, part, metrics)
    rows = [header, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|:" + "-" * (widths[0] + 1) + "|" + "".join("-" * (width + 1) + ":|" for width in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def short_metrics(kind: TaskKind, watched: str) -> list[str]:
    """The metrics to show first."""
    return list(dict.fromkeys((watched, *SHORT[kind])))


def _digits(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.1f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.5g}"
