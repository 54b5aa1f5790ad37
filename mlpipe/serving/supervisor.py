"""The supervisor: starts the processes, replaces those that die, reloads versions, and ends everything in order.

It is the process that `mlpipe serve` is, alone in having no thread and no model: it waits for what happens to its
children, for what they say and for signals, and does one thing at a time.

    SIGTERM, SIGINT   not ready any more; `drain` seconds later the port is closed, what was accepted is answered, and
                      the workers end. A second signal ends everything at once.
    SIGHUP            load what the references name now, verify and warm it in every worker, then swap in all.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from mlpipe.errors import BundleError
from mlpipe.serving.children import Child, Starter, end, signals, tell, turn_away
from mlpipe.serving.reloads import Asker, Outcome, Reloads
from mlpipe.serving.settings import Settings, Slot

logger = logging.getLogger(__name__)

#: A process that dies is started again after this long, and after twice as long each time that it dies early.
_FIRST_DELAY, _LAST_DELAY = 0.1, 10.0
#: A process that lived this long did not die early.
_HEALTHY_SECONDS = 30.0
#: Deaths of workers before any was ready.
_MOST_DEATHS = 3
_END_SECONDS = 10.0


class Supervisor:
    """Runs the server.

    Args:
        settings: How bundles are served.
        slots: What is to be served.
        resolve: The same, looked up anew for each reload.
        start_worker: Starts a worker, given its number, a pipe and what to serve.
        start_api: Starts an API process.
        sockets: Those that the API processes listen on.
        announce: Is called once, when the server is ready, with what is served and its versions.
        restarted: Is told of the kind of process that is replaced.
        reloaded: Is told how a reload ended: `swapped`, `failed` or `unchanged`.
        states: Is told how many workers are `ready`, `starting` and `dead`.
        died: Is told of the process id of each child that ended.
    """

    def __init__(
        self,
        settings: Settings,
        slots: Sequence[Slot],
        resolve: Callable[[], Sequence[Slot]],
        start_worker: Starter,
        start_api: Starter,
        sockets: Sequence[socket.socket],
        *,
        announce: Callable[[Sequence[Slot], Sequence[str]], None],
        restarted: Callable[[str], None] | None = None,
        reloaded: Callable[[str], None] | None = None,
        states: Callable[[dict[str, int]], None] | None = None,
        died: Callable[[int], None] | None = None,
    ) -> None:
        self.settings, self.sockets, self.announce = settings, sockets, announce
        self.restarted, self.reloaded, self.states, self.died = restarted, reloaded, states, died
        self.slots = tuple(slots)
        self.versions: list[str] = []
        self.workers = [Child("worker", number, start_worker) for number in range(settings.workers)]
        self.api = [Child("api", number, start_api) for number in range(settings.api_servers)]
        self._signals: list[int] = []
        self._reloads = Reloads(self.workers, resolve)
        #: Workers that were told to swap and have not said that they did, and what is told then.
        self._swapping: set[int] = set()
        self._swapped: tuple[str, dict[str, Any]] | None = None
        #: Who is told how the reload ended.
        self._askers: tuple[Asker, ...] = ()
        self._deaths = 0
        self._announced = False

    def run(self) -> None:
        """Serve until a signal says that it is enough, and leave no process.

        Raises:
            BundleError: A bundle cannot be loaded when the server starts.
            RuntimeError: Workers die before they are ready.
        """
        with signals(self._signals) as wakeup:
            try:
                for child in self._children():
                    self._start(child)
                while not self._ending():
                    self._turn(wakeup)
                self._drain(wakeup)
            finally:
                self._reloads.close()
                end(self._children(), _END_SECONDS)

    def _children(self) -> list[Child]:
        return [*self.workers, *self.api]

    def _ending(self) -> bool:
        """Whether a signal to end has come; one to reload is noted on the way."""
        if signal.SIGHUP in self._signals:
            self._signals[:] = [number for number in self._signals if number != signal.SIGHUP]
            self._reloads.ask()
        return bool(self._signals)

    def _turn(self, wakeup: socket.socket) -> None:
        """Wait for something to happen, and do what follows from it."""
        now = time.monotonic()
        # The next reload begins when all workers have swapped for the last one.
        if self._swapped is None and (outcome := self._reloads.look()) is not None:
            self._take(outcome)
        due = [child.due - now for child in self._children() if child.process is None]
        if (left := self._reloads.left) is not None:
            due.append(left)
        children = [child for child in self._children() if child.process is not None]
        pipes = {child.pipe: child for child in children if child.pipe is not None}
        ends = {child.process.sentinel: child for child in children if child.process is not None}
        happened = wait([wakeup, *pipes, *ends, *self._reloads.pipes], timeout=None if not due else max(0.0, min(due)))
        for one in happened:
            if one is wakeup:
                wakeup.recv(4096)
            elif isinstance(one, Connection) and one in pipes:
                self._hear(pipes[one])
        for one in happened:
            if isinstance(one, int) and one in ends:
                self._bury(ends[one])
        for child in self._children():
            if child.process is None and time.monotonic() >= child.due:
                self._start(child)
        if happened and self.states is not None:
            states = ["dead" if w.process is None else "ready" if w.ready else "starting" for w in self.workers]
            self.states({state: states.count(state) for state in ("ready", "starting", "dead")})

    def _start(self, child: Child) -> None:
        ours, theirs = multiprocessing.Pipe()
        child.process = child.start(child.number, theirs, self.slots)
        child.pipe, child.ready, child.since = ours, False, time.monotonic()
        theirs.close()
        if child.kind == "worker":
            self._reloads.started(child)

    def _hear(self, child: Child) -> None:
        """What a child says."""
        assert child.pipe is not None  # it was heard
        try:
            said, *arguments = child.pipe.recv()
        except (EOFError, OSError):
            child.pipe.close()
            child.pipe = None  # its end is noticed by itself
            return
        match said:
            case "ready":
                child.ready, self._deaths = True, 0
                self._reloads.ready(child)
                self._versions(arguments[0])
            case "up":
                child.ready = True
                tell(child, "versions", self.versions)
                self._versions(self.versions)
            case "backend":
                logger.info("Worker %d: %s", child.number, arguments[0])
            case "refused" if not self.versions:
                raise BundleError(arguments[0])
            case "refused":
                logger.error("A worker refused a bundle: %s", arguments[0])
                self._reloads.refused(child, arguments[0])
            case "loaded":
                self._reloads.loaded(child, arguments[0])
            case "swapped":
                self._has_swapped(child)
            case "hung":
                hanging = self.workers[arguments[0]]
                if hanging.process is not None:
                    logger.error("Worker %d has not answered for too long and is ended.", hanging.number)
                    hanging.process.kill()
            case "reload":
                self._reloads.ask((child, arguments[0]))

    def _versions(self, versions: list[str]) -> None:
        """Announce the server once something of each kind is ready."""
        first = not self.versions
        self.versions = list(versions)
        if self.versions:
            for child in self.api:
                tell(child, "versions", self.versions)
        up = all(child.ready for child in self.api) and any(child.ready for child in self.workers)
        if up and not self._announced:
            self._announced = True
            self.announce(self.slots, self.versions)
        elif first and self.versions:
            logger.info("The first worker is ready.")

    def _bury(self, child: Child) -> None:
        """A child has died: plan the next."""
        assert child.process is not None  # it was watched
        if child.pipe is not None:
            while child.pipe is not None and child.pipe.poll():
                self._hear(child)
        child.process.join()
        code, pid = child.process.exitcode, child.process.pid
        lived = time.monotonic() - child.since
        child.early = child.early + 1 if lived < _HEALTHY_SECONDS else 0
        delay = min(_LAST_DELAY, _FIRST_DELAY * 2 ** max(0, child.early - 1))
        child.due = time.monotonic() + delay
        if child.pipe is not None:
            child.pipe.close()
        child.process, child.pipe, child.ready = None, None, False
        if self.died is not None and pid is not None:
            self.died(pid)
        if child.kind == "worker":
            if not self.versions:
                self._deaths += 1
                if self._deaths >= _MOST_DEATHS:
                    raise RuntimeError(f"Workers died {self._deaths} times before one was ready (exit code {code}).")
            self._reloads.died(child)
            self._has_swapped(child)
        logger.warning(
            "A process died and is replaced", extra={"kind": child.kind, "exit_code": code, "delay": round(delay, 1)}
        )
        if self.restarted is not None:
            self.restarted(child.kind)

    def _take(self, outcome: Outcome) -> None:
        """Go on with what was loaded, or with what there was."""
        self._askers = outcome.askers
        if outcome.refused is not None:
            self._tell_outcome("failed", 409, {"detail": outcome.refused, "versions": self.versions})
            return
        unchanged = outcome.versions == self.versions and outcome.slots == self.slots
        self.slots = outcome.slots
        ready = [child for child in self.workers if child.ready]
        for child in ready:
            tell(child, "swap")
        self._versions(outcome.versions)
        self._swapping = {child.number for child in ready}
        told = {"version": self.versions[0], "versions": self.versions}
        self._swapped = "unchanged" if unchanged else "swapped", told
        self._settle()

    def _has_swapped(self, worker: Child) -> None:
        """A worker answers with what is new from now on, or not at all."""
        self._swapping.discard(worker.number)
        self._settle()

    def _settle(self) -> None:
        """Tell whoever asked for the reload, once no worker answers with what was before."""
        if self._swapped is not None and not self._swapping:
            (word, told), self._swapped = self._swapped, None
            self._tell_outcome(word, 200, told)

    def _tell_outcome(self, word: str, status: int, told: dict[str, Any]) -> None:
        logger.log(logging.INFO if status == 200 else logging.ERROR, "Reload: %s", word, extra=told)
        for child, number in self._askers:
            tell(child, "reloaded", number, status, told)
        self._askers = ()
        if self.reloaded is not None:
            self.reloaded(word)

    def _drain(self, wakeup: socket.socket) -> None:
        """Say that the server is not ready, wait until that is known, and let what was accepted be answered."""
        first = len(self._signals)
        logger.info("Ending: requests that were accepted are answered first.")
        for child in self.api:
            tell(child, "drain")
        self._pause(wakeup, first, self.settings.drain)
        alive = [child.process for child in self.api if child.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + self.settings.limits.deadline + _END_SECONDS
        while any(process.is_alive() for process in alive) and len(self._signals) == first:
            if time.monotonic() > deadline:
                logger.error("An API process did not end in time.")
                break
            wait([wakeup, *self.sockets, *(process.sentinel for process in alive if process.is_alive())], timeout=1.0)
            with contextlib.suppress(BlockingIOError):
                wakeup.recv(4096)
            turn_away(self.sockets)
        turn_away(self.sockets)
        for listening in self.sockets:
            listening.close()

    def _pause(self, wakeup: socket.socket, first: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and len(self._signals) == first:
            if wait([wakeup], timeout=left):
                wakeup.recv(4096)
