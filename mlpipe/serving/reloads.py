"""A reload: every worker loads, verifies and warms what is new, and only then do all of them swap.

It waits for each worker process that lives, also one that was started with the old versions and is not ready yet: it
loads the new ones as soon as it is. One that dies is not waited for; the next in its place starts with whatever is
served by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlpipe.errors import MlpipeError
from mlpipe.serving.children import Child, tell
from mlpipe.serving.settings import Slot

#: For all workers to load what is new.
RELOAD_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a reload ended.

    Attributes:
        slots: What was to be served.
        versions: Of the bundles, in the order of the slots.
        refused: Why the old versions go on; None: they don't.
    """

    slots: tuple[Slot, ...] = ()
    versions: list[str] = field(default_factory=list)
    refused: str | None = None


class Reloads:
    """Follows one reload at a time.

    Args:
        workers: Those that serve.
        resolve: What is to be served, looked up for each reload.

    Attributes:
        wanted: Somebody asked for a reload that has not begun.
    """

    def __init__(self, workers: Sequence[Child], resolve: Callable[[], Sequence[Slot]]) -> None:
        self.workers, self.resolve = workers, resolve
        self.wanted = False
        self._slots: tuple[Slot, ...] | None = None
        self._waiting: set[int] = set()
        self._versions: list[str] = []
        self._refused: str | None = None
        self._until = 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the reload at hand has left; None if there is none."""
        if self._slots is None:
            return None
        return 0.0 if not self._waiting else max(0.0, self._until - time.monotonic())

    def look(self) -> Outcome | None:
        """Begin what is wanted; the outcome if a reload has ended."""
        if self.wanted and self._slots is None:
            self.wanted = False
            try:
                self._begin(tuple(self.resolve()))
            except MlpipeError as error:
                return Outcome(refused=str(error))
        if self._slots is None or (self._waiting and time.monotonic() < self._until):
            return None
        slots, self._slots = self._slots, None
        refused = self._refused
        if self._waiting:
            refused = f"not every worker had loaded it after {RELOAD_SECONDS:g} s"
        elif not self._versions:
            refused = refused or "there is no worker that could load it"
        return Outcome(slots, self._versions, refused)

    def _begin(self, slots: tuple[Slot, ...]) -> None:
        self._slots, self._versions, self._refused = slots, [], None
        self._until = time.monotonic() + RELOAD_SECONDS
        self._waiting = {worker.number for worker in self.workers if worker.process is not None}
        for worker in self.workers:
            if worker.ready:
                tell(worker, "load", slots)

    def started(self, worker: Child) -> None:
        """A worker was started, with what is served now."""
        if self._slots is not None:
            self._waiting.add(worker.number)

    def ready(self, worker: Child) -> None:
        """A worker that was started is ready."""
        if self._slots is not None:
            tell(worker, "load", self._slots)

    def loaded(self, worker: Child, versions: list[str]) -> None:
        """A worker has loaded what is new."""
        self._versions = versions
        self._waiting.discard(worker.number)

    def refused(self, worker: Child, why: str) -> None:
        """A worker has found what is new, or what it was started with, to be damaged."""
        self._refused = why
        self._waiting.discard(worker.number)

    def died(self, worker: Child) -> None:
        """A worker has died."""
        self._waiting.discard(worker.number)
