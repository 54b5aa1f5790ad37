"""The request log: what was asked and answered, as Parquet files that `mlpipe drift` and `mlpipe models compare` read.

    request_id, answered_at, model_version, shadow | the features | prediction, probability_<class>, confidence, …

A worker gathers rows and a thread writes them, a file at a time, each of which appears when it is complete. What a
process holds when it is killed (SIGKILL) is lost, and so is what the disk does not take: the server goes on, and the
metrics count it. A request of several rows gives them the ids `ID:0`, `ID:1`, …
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from mlpipe.features.fields import read_field
from mlpipe.features.target import label_text
from mlpipe.files import write_whole
from mlpipe.schema import TaskKind
from mlpipe.serving.engine import Exchange, Served
from mlpipe.serving.settings import Recording
from mlpipe.serving.traffic import fraction

logger = logging.getLogger(__name__)

#: A file has about so many rows, and no row waits longer than so many seconds to be written.
FILE_ROWS, FILE_SECONDS = 10_000, 30.0
#: Files that may be about to be written; with more, the disk is too slow and rows are dropped.
_MOST_FILES = 4
#: Columns of the log's own; a feature of such a name is left out.
OWN = ("request_id", "answered_at", "model_version", "shadow", "prediction", "confidence", "lower", "upper")


@dataclass
class _Rows:
    """Rows of one version."""

    served: Served
    ids: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    shadow: list[bool] = field(default_factory=list)
    rows: list[Sequence[Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)


class Recorder:
    """Writes the log of one worker.

    Args:
        recording: What is kept.

    Attributes:
        written: Rows in files since it was last looked; whoever looks sets it to 0.
        lost: Rows that could not be written, likewise.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.written = self.lost = 0
        self._kept: dict[str, _Rows] = {}
        self._count = self._files = 0
        self._since = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="request-log")
        self._writing: list[tuple[int, Future[None]]] = []

    def take(self, exchanges: Sequence[Exchange], *, shadow: bool = False) -> None:
        """Keep what was answered, as far as its id is in the sample: of a request all versions' answers or none."""
        now = datetime.now(UTC)
        for exchange in exchanges:
            name, count = exchange.question.request_id, len(exchange.rows)
            if not count:  # a file is named by its first row
                continue
            if self.recording.sample < 1 and fraction(name, b"log") >= self.recording.sample:
                continue
            kept = self._kept.setdefault(exchange.served.version, _Rows(exchange.served))
            text = name.decode("latin-1")
            kept.ids += [text] if count == 1 else [f"{text}:{row}" for row in range(count)]
            kept.times += [now] * count
            kept.shadow += [shadow] * count
            kept.rows += exchange.rows
            kept.records += exchange.records
            self._count += count
        self.look()

    def look(self) -> None:
        """Write what has waited long enough."""
        if self._count >= FILE_ROWS or time.monotonic() - self._since > FILE_SECONDS:
            self._write()

    def close(self) -> None:
        """Write what there is, and wait until it is written."""
        self._write()
        self._thread.shutdown(wait=True)
        self._settle()

    def _write(self) -> None:
        self._since = time.monotonic()
        self._settle()
        for kept in self._kept.values():
            if len(self._writing) >= _MOST_FILES:
                self.lost += len(kept.ids)
                logger.error("The disk is too slow for the request log; %d rows are not in it.", len(kept.ids))
                continue
            self._files += 1
            name = f"{kept.times[0]:%Y%m%dT%H%M%S}-{os.getpid()}-{self._files:06d}.parquet"
            writing = self._thread.submit(_write, kept, self.recording, name)
            self._writing.append((len(kept.ids), writing))
        self._kept, self._count = {}, 0

    def _settle(self) -> None:
        """Count what has become of files."""
        for rows, writing in [one for one in self._writing if one[1].done()]:
            error = writing.exception()
            if error is None:
                self.written += rows
            else:
                self.lost += rows
                logger.error("A file of the request log was not written: %s", error)
            self._writing.remove((rows, writing))


def log_frame(kept: _Rows, redacted: Sequence[str]) -> pl.DataFrame:
    """The rows of one version as a table."""
    schema = kept.served.rules.schema
    columns = [
        pl.Series("request_id", kept.ids),
        pl.Series("answered_at", kept.times, dtype=pl.Datetime("us", "UTC")),
        pl.Series("model_version", [kept.served.version] * len(kept.ids)),
        pl.Series("shadow", kept.shadow),
    ]
    left_out = {*OWN, *redacted}
    for place, column in enumerate(schema.features):
        if column.name not in left_out:
            columns.append(read_field(column, [row[place] for row in kept.rows]))
    return pl.DataFrame([*columns, *_answers(kept, {column.name for column in columns})])


def _answers(kept: _Rows, taken: set[str]) -> list[pl.Series]:
    task, records = kept.served.rules.schema.task, kept.records
    dtype = pl.List(pl.String) if task.kind is TaskKind.MULTILABEL else None
    columns = [pl.Series("prediction", [record["prediction"] for record in records], dtype=dtype)]
    for text in map(label_text, task.classes):
        shares = [record["probabilities"][text] for record in records]
        columns.append(pl.Series(f"probability_{text}", shares, dtype=pl.Float32))
    others = (name for name in ("confidence", "lower", "upper") if name in records[0])
    columns += [pl.Series(name, [record[name] for record in records]) for name in others]
    return [column for column in columns if column.name not in taken]


def _write(kept: _Rows, recording: Recording, name: str) -> None:
    content = BytesIO()
    log_frame(kept, recording.redacted).write_parquet(content)
    write_whole(Path(recording.folder) / name, content.getvalue())
