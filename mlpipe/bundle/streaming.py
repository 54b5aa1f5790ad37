"""A file of any size through a model, batch by batch, in memory that does not grow with the file.

Polars pulls batches off the file, keeps their order and waits for the model, so memory stays bounded. It does so on
all of its threads at once, which suits the preprocessing. The model alone runs on one thread of its own, since torch
keeps a pool of threads for every thread that calls it. Nothing of Polars may run there: while its streaming engine
waits for that thread, a query from it can wait for the engine, without end (seen with Polars 2.1).

The engine runs on a thread of its own too, so that Ctrl-C reaches the caller at once and the batches in hand are the
engine's last ones.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from mlpipe.features.frame import count_unreadable, unreadable_sentences
from mlpipe.schema import Schema

if TYPE_CHECKING:
    from mlpipe.bundle.network import Outputs, Run

logger = logging.getLogger(__name__)

T = TypeVar("T")


def stream(
    frame: pl.LazyFrame, work: Callable[[pl.DataFrame, Run], pl.DataFrame], finish: Callable[[pl.LazyFrame], T]
) -> T:
    """Give every batch of a frame to `work` and what comes of them, in order, to `finish`.

    Args:
        frame: The rows.
        work: From a batch and what runs the model to rows of one schema; called by several threads at once, and first
            with a batch of no rows.
        finish: Writes or collects the LazyFrame of all results with Polars' streaming engine.

    Returns:
        What `finish` returns.
    """
    left = threading.Event()
    with ThreadPoolExecutor(1) as model, ThreadPoolExecutor(1) as engine:

        def run(network: Callable[[], Outputs]) -> Outputs:
            return model.submit(network).result()

        def work_on(batch: pl.DataFrame) -> pl.DataFrame:
            if left.is_set():
                raise InterruptedError
            return work(batch, run)

        schema = work_on(pl.DataFrame(schema=frame.collect_schema())).schema
        results = frame.map_batches(work_on, schema=schema, streamable=True)
        try:
            return engine.submit(finish, results).result()
        finally:
            left.set()


class Tally:
    """How many rows there were, and how many of their values could not be read; for several threads at once.

    Args:
        data: Where they come from.
        schema: What the columns are.
    """

    def __init__(self, data: str | Path, schema: Schema) -> None:
        self._data = data
        self._schema = schema
        self._heights: list[int] = []
        self._unreadable: list[dict[str, int]] = []

    def add(self, batch: pl.DataFrame) -> None:
        """Count a batch of raw rows."""
        self._heights.append(batch.height)
        self._unreadable.append(count_unreadable(batch, self._schema))

    @property
    def rows(self) -> int:
        """Rows so far."""
        return sum(self._heights)

    def warn(self) -> None:
        """Say of each column how many values are missing only because they could not be read."""
        for sentence in unreadable_sentences(self._data, sum(map(Counter, self._unreadable), Counter())):
            logger.warning(sentence)
