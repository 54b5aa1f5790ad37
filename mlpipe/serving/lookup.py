"""What a reload is to load, looked up in a process of its own: a registry that is slow to answer holds up nobody.

The supervisor has to replace processes that die and to hear SIGTERM all the while, and has one thread.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from types import FrameType

from mlpipe.errors import MlpipeError
from mlpipe.serving.settings import Slot

#: For a registry to answer, bundles to be downloaded and their files to be hashed.
LOOKUP_SECONDS = 120.0
_END_SECONDS = 5.0


class Lookup:
    """One lookup, begun.

    Args:
        resolve: What is to be served.

    Attributes:
        pipe: Is readable once there is an answer.
    """

    def __init__(self, resolve: Callable[[], Sequence[Slot]]) -> None:
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._until = time.monotonic() + LOOKUP_SECONDS
        # Forked: `resolve` need not be sent, and the supervisor is small.
        self._process = multiprocessing.get_context("fork").Process(
            target=_look, args=(theirs, resolve), name="mlpipe-lookup"
        )
        self._process.start()
        theirs.close()

    @property
    def left(self) -> float:
        """Seconds until it is given up."""
        return max(0.0, self._until - time.monotonic())

    def answer(self) -> tuple[Slot, ...] | str | None:
        """What is to be served, or why that is not known; None: there is no answer yet."""
        if self.pipe.poll():
            try:
                found: tuple[Slot, ...] | str = self.pipe.recv()
            except EOFError:
                self._process.join()
                return f"the lookup ended without an answer (exit code {self._process.exitcode})"
            return found
        return None if self.left else f"the registry has not answered within {LOOKUP_SECONDS:g} s"

    def end(self) -> None:
        """Leave no process."""
        self.pipe.close()
        self._process.terminate()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _look(pipe: Connection, resolve: Callable[[], Sequence[Slot]]) -> None:
    signal.set_wakeup_fd(-1)  # the supervisor's
    signal.signal(signal.SIGTERM, _leave)  # by way of Python: a process that asks MLflow is to end with this one
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group, and are the supervisor's
        signal.signal(number, signal.SIG_IGN)
    try:
        pipe.send(tuple(resolve()))
    except MlpipeError as error:
        pipe.send(str(error))
    except OSError as error:
        pipe.send(f"{str(error.filename)!r} cannot be read: {error.strerror}." if error.filename else str(error))


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)
