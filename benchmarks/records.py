"""What has been measured, kept from run to run: a record for each model trained on a table, and its losses by row.

`accuracy.json` holds the records, a line each, and `accuracy_rows/TABLE.npz` what the paired bootstrap needs: each test
row's error, in half precision, or whether its class was wrong. There is one record for a table, a contestant, a preset
and a seed; a later one takes its place. What is written is whole at any time, so that Ctrl-C costs the model in hand.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe.files import write_whole
from mlpipe.training.environment import hardware

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]

#: A machine counts as shared if more processes than the model's own threads, and half a one, wanted to run.
OTHERS_LOAD = 0.5


@dataclass(frozen=True, order=True)
class Key:
    """What a record is of.

    Attributes:
        table: One of `tables.TABLES`.
        contestant: `mlpipe`, or a baseline.
        preset: `default`, or the name of a file in `configs/presets`; empty for a baseline, which has none.
        seed: Of the training.
    """

    table: str
    contestant: str
    preset: str
    seed: int

    def __str__(self) -> str:
        words = [self.table, self.contestant, *([self.preset] if self.preset else []), f"seed {self.seed}"]
        return ", ".join(words)


@dataclass(frozen=True)
class Record:
    """A model that was trained and measured.

    Attributes:
        key: What it is of.
        recipe: By which ours was trained, a digest of the resolved config; of a baseline, the version of its library.
            Means are taken over seeds of one recipe.
        validation: Metrics by name.
        test: Metrics by name.
        seconds: Of the training, features of ours included.
        curve: Seconds and the compared metric on the validation rows, at the end of each epoch; ours only.
        epochs: Ours only.
        machine: `cpu`, `threads`, `load` (running processes, mean over a minute) and whether it was `shared`.
        measured: When, in UTC; ISO 8601.
    """

    key: Key
    recipe: str
    validation: Mapping[str, float]
    test: Mapping[str, float]
    seconds: float
    curve: tuple[tuple[float, float], ...] = ()
    epochs: int | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    measured: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_line(self) -> str:
        """As one line of JSON."""
        values = asdict(self)
        return json.dumps({**values.pop("key"), **values})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `to_line`, behind `json.loads`."""
        names = Key.__dataclass_fields__
        key = Key(**{name: values[name] for name in names})
        rest = {name: value for name, value in values.items() if name not in names}
        return cls(key, **{**rest, "curve": tuple(map(tuple, values["curve"]))})


class Store:
    """The records of a folder of results.

    Args:
        folder: Made if it is not there. Records are read anew before each is written: what another process has
            measured meanwhile is not lost.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._json = folder / "accuracy.json"
        self._rows = folder / "accuracy_rows"

    @property
    def records(self) -> dict[Key, Record]:
        """All there are, in the order of their keys."""
        if not self._json.is_file():
            return {}
        found = map(Record.from_dict, json.loads(self._json.read_bytes()))
        return {record.key: record for record in sorted(found, key=lambda record: record.key)}

    def add(self, record: Record, losses: Values) -> None:
        """Keep a record, in place of the one that was there.

        Args:
            record: What was measured.
            losses: (test rows,) of the same model, see `row_losses`.
        """
        table, kept = record.key.table, self._arrays(record.key.table)
        content = io.BytesIO()
        arrays = {**kept, _name(record.key): losses}
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # mypy takes each for `allow_pickle` too
        self._rows.mkdir(exist_ok=True)
        write_whole(self._rows / f"{table}.npz", content.getvalue())
        self._write({**self.records, record.key: record}.values())

    def losses(self, keys: Iterable[Key]) -> Floats | None:
        """Each test row's part in the metric, the mean over models; None if one's is not there.

        Args:
            keys: Of models on one table.

        Shape:
            (test rows,)
        """
        parts = []
        for key in keys:
            stored = self._arrays(key.table).get(_name(key))
            if stored is None:
                return None
            # Of wrong classes the share is compared, of errors the mean square.
            parts.append(stored.astype(np.float64) if stored.dtype == np.bool_ else np.square(stored, dtype=np.float64))
        mean: Floats = np.mean(parts, axis=0)
        return mean

    def _arrays(self, table: str) -> dict[str, Values]:
        path = self._rows / f"{table}.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def _write(self, records: Iterable[Record]) -> None:
        lines = [record.to_line() for record in sorted(records, key=lambda record: record.key)]
        write_whole(self._json, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


def row_losses(metric: str, outputs: Floats, truth: Floats) -> Values:
    """What is kept of each test row: whether its class is wrong for accuracy, the absolute error for RMSE.

    Args:
        metric: `accuracy` or `rmse`.
        outputs: (T,) or (T, 1) values or probabilities of the second class, or (T, classes) probabilities.
        truth: (T,) values or classes' numbers.

    Shape:
        (T,) bool, or float16.
    """
    flat = outputs.reshape(len(truth), -1)
    if metric == "rmse":
        errors: Values = np.abs(flat[:, 0] - truth).astype(np.float16)
        return errors
    chosen = flat[:, 0] > 0.5 if flat.shape[1] == 1 else flat.argmax(axis=1)
    wrong: Values = np.not_equal(chosen, truth)
    return wrong


def machine() -> dict[str, Any]:
    """On what a model was trained; called when it has been, so that the load is that of the time."""
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    return {
        "cpu": hardware()["cpu"],
        "threads": threads,
        "load": round(load, 1),
        "shared": load > threads + OTHERS_LOAD,
    }


def _name(key: Key) -> str:
    return " ".join(filter(None, (key.contestant, key.preset, str(key.seed))))
