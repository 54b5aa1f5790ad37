"""The results of a comparison as files: a page of Markdown, and a record in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe.errors import ConfigError
from mlpipe.files import refuse_folder
from mlpipe.research.baselines.table import BaselineResult, ranked, render_table, short_metrics, table_cells
from mlpipe.schema import TaskKind
from mlpipe.training.rundir import refuse_file, write_json, write_text

PAGE, RECORD = "baselines.md", "baselines.json"


@dataclass
class Report:
    """A comparison on one split table, which grows by a model at a time.

    Attributes:
        kind: What is predicted.
        metric: What the models are ordered by.
        rows: Rows by part.
        seed: That the baselines were fitted with.
        results: One per model, in the order in which they came.
    """

    kind: TaskKind
    metric: str
    rows: Mapping[str, int]
    seed: int
    results: list[BaselineResult] = field(default_factory=list)

    @property
    def part(self) -> str:
        """The part that says how good a model is: `test`, or `validation` where there is none."""
        return "test" if self.rows.get("test") else "validation"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for a terminal: the best model first, and only the metrics that matter most."""
        return table_cells(
            ranked(self.results, self.part, self.metric), self.part, short_metrics(self.kind, self.metric)
        )

    def markdown(self) -> str:
        """A table of all metrics for each part."""
        blocks = ["# Baselines", f"Trained on {self.rows['train']:,} rows; the best {self.metric} stands first."]
        for part in ("test", "validation"):
            if self.rows.get(part):
                blocks += [
                    f"## {part}: {self.rows[part]:,} rows",
                    render_table(ranked(self.results, part, self.metric), part),
                ]
        return "\n\n".join(blocks) + "\n"

    def record(self) -> dict[str, Any]:
        """Everything but the outputs, as plain JSON values."""
        return {
            "mlpipe": mlpipe.__version__,
            "task": self.kind.value,
            "metric": self.metric,
            "seed": self.seed,
            "rows": dict(self.rows),
            "models": [result.to_dict() for result in self.results],
        }

    def metrics(self) -> dict[str, float]:
        """Every number under a name of its own, `baselines/<model>/...`, for a tracker."""
        values: dict[str, float] = {}
        for result in self.results:
            prefix = f"baselines/{result.name}"
            values |= {f"{prefix}/{part}/{k}": v for part, found in result.metrics.items() for k, v in found.items()}
            values[f"{prefix}/train_seconds"] = result.train_seconds
            if result.rows_per_second is not None:
                values[f"{prefix}/rows_per_second"] = result.rows_per_second
        return values

    def write(self, folder: Path) -> list[Path]:
        """Write the page and the record, over those of an earlier call; returns their paths."""
        write_text(folder / PAGE, self.markdown())
        write_json(folder / RECORD, self.record())
        return [folder / PAGE, folder / RECORD]


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Whether a report can be written there; to be asked before anything slow is done.

    Raises:
        ConfigError: It is a file or below one, or holds a report and `overwrite` is not given.
    """
    refuse_file(folder, "--out")
    for name in (PAGE, RECORD):
        refuse_folder(folder / name)
        if (folder / name).exists() and not overwrite:
            raise ConfigError(
                f"{folder / name} exists; give another folder with `--out`, or `--force` to overwrite it."
            )
