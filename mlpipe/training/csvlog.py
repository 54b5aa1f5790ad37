"""`metrics.csv`: what was logged while training, a line for each time, in a file of our own choosing.

Lightning's `CSVLogger` decides on the folder's name itself and deletes the file of the run that it is to go on with.
"""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from mlpipe.training.rundir import write_text


class MetricsCSV(Logger):
    """A Lightning logger that writes one CSV file, each line as soon as it is logged.

    Columns are `epoch`, `step` and then the metrics in the order in which they first came; a new one is added on the
    right. A resumed run appends; lines of the run before that were logged after the checkpoint are replaced: those
    behind its first step, and at that step those from the first on that has one of the same metrics.

    Args:
        path: The file.
        resume: Keep what is in it; otherwise the first line logged replaces it.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.csv"
        >>> logger = MetricsCSV(path)
        >>> logger.log_metrics({"epoch": 0, "train/loss": 0.5}, step=9)
        >>> logger.log_metrics({"epoch": 0, "val/auroc": 0.75}, step=9)
        >>> print(path.read_text())
        epoch,step,train/loss,val/auroc
        0,9,0.5,
        0,9,,0.75
        <BLANKLINE>
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        super().__init__()
        self._path = Path(path)
        self._columns: list[str] = []
        self._resumed_rows = read_metrics(self._path) if resume and self._path.is_file() else []

    @property
    def name(self) -> str:
        """Lightning takes it for a folder: a `ModelCheckpoint` without `dirpath` writes to `callbacks/checkpoints`.

        Beside the run's own checkpoints it might write over them.
        """
        return "callbacks"

    @property
    def version(self) -> str:
        """Files have no versions; the run directory has a name."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory, which is `trainer.log_dir` if this is the first logger."""
        return str(self._path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a line.

        Args:
            metrics: Values by name; `epoch` among them gets the first column.
            step: Number of the optimiser's step.
        """
        row: dict[str, Any] = {"epoch": "", "step": step or 0, **{name: _short(v) for name, v in metrics.items()}}
        if not self._columns:
            self._rewrite(list(takewhile(lambda old: _came_before(old, row), self._resumed_rows)), row)
        elif not set(row) <= set(self._columns):
            self._rewrite(read_metrics(self._path), row)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, restval="", lineterminator="\n").writerow(row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` lies beside the file."""

    def _rewrite(self, rows: list[dict[str, str]], new: Mapping[str, Any]) -> None:
        """Write the header, with room for the columns of a new row, and the old rows."""
        self._columns = list(dict.fromkeys([name for row in (*rows[:1], new) for name in row]))
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())


def read_metrics(path: str | Path) -> list[dict[str, str]]:
    """The lines of a `metrics.csv`, as text by column; what was not logged at that time is empty.

    A last line that was cut off, because the machine went down while it was written, is left out.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if line.endswith("\n")]
    return list(csv.DictReader(lines))


def _came_before(old: Mapping[str, str], new: Mapping[str, Any]) -> bool:
    """Whether a line of the run before was logged before the checkpoint from which the new line comes."""
    again = any(old.get(name) for name in new if name not in ("epoch", "step"))
    return int(old["step"]) < new["step"] or (int(old["step"]) == new["step"] and not again)


def _short(value: float) -> float | int:
    """As many digits as float32 has: what is logged was one."""
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**31 else float(f"{number:.9g}")
