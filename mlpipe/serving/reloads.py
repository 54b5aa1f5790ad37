"""A reload: every worker loads, verifies and warms what is new, and only then do all of them swap.

It waits for each worker process that lives, also one that was started with the old versions and is not ready yet: it
loads the new ones as soon as it is. One that dies is not waited for; the next in its place starts with whatever is
served by then.

Whoever asks is told of a reload that began after they asked: one that was under way may have looked before what they
changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from mlpipe.serving.children import Child, tell
from mlpipe.serving.lookup import Lookup
from mlpipe.serving.settings import Slot

#: For all workers to load what is new.
RELOAD_SECONDS = 300.0

#: An API process, and the number that it has given to its question.
Asker = tuple[Child, int]


@dataclass(frozen=True)
class Outcome:
    """How a reload ended.

    Attributes:
        slots: What was to be served.
        versions: Of the bundles, in the order of the slots.
        refused: Why the old versions go on; None: they don't.
        askers: Who is to be told.
    """

    slots: tuple[Slot, ...] = ()
    versions: list[str] = field(default_factory=list)
    refused: str | None = None
    askers: tuple[Asker, ...] = ()


class Reloads:
    """Follows one reload at a time.

    Args:
        workers: Those that serve.
        resolve: What is to be served, looked up for each reload.
    """

    def __init__(self, workers: Sequence[Child], resolve: Callable[[], Sequence[Slot]]) -> None:
        self.workers, self.resolve = workers, resolve
        self._wanted = False
        self._lookup: Lookup | None = None
        #: Who asked for the reload at hand, and for the one after it.
        self._askers: tuple[Asker, ...] = ()
        self._next: list[Asker] = []
        self._slots: tuple[Slot, ...] | None = None
        self._waiting: set[int] = set()
        self._versions: list[str] = []
        self._refused: str | None = None
        self._until = 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the reload at hand has left; None if there is none."""
        if self._lookup is not None:
            return self._lookup.left
        if self._slots is None:
            return None
        return 0.0 if not self._waiting else max(0.0, self._until - time.monotonic())

    @property
    def pipes(self) -> tuple[Connection, ...]:
        """What is to be waited for besides the workers."""
        return () if self._lookup is None else (self._lookup.pipe,)

    def ask(self, asker: Asker | None = None) -> None:
        """Somebody wants a reload, of whom an API process is to be told how it ended."""
        self._wanted = True
        if asker is not None:
            self._next.append(asker)

    def look(self) -> Outcome | None:
        """Begin what is wanted; the outcome if a reload has ended."""
        if self._wanted and self._slots is None and self._lookup is None:
            self._wanted = False
            self._askers, self._next = tuple(self._next), []
            self._lookup = Lookup(self.resolve)
        if self._lookup is not None:
            if (found := self._lookup.answer()) is None:
                return None
            self.close()
            if isinstance(found, str):
                return Outcome(refused=found, askers=self._askers)
            self._begin(found)
        if self._slots is None or (self._waiting and time.monotonic() < self._until):
            return None
        slots, self._slots = self._slots, None
        refused = self._refused
        if self._waiting:
            refused = f"not every worker had loaded it after {RELOAD_SECONDS:g} s"
        elif not self._versions:
            refused = refused or "there is no worker that could load it"
        return Outcome(slots, self._versions, refused, self._askers)

    def close(self) -> None:
        """Nothing is looked up any more."""
        if self._lookup is not None:
            self._lookup.end()
            self._lookup = None

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
