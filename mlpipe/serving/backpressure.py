"""Connections that were refused are not read for a while, so that refusing leaves time for answering.

A client that is told to come back in a second and sends at once has its next request wait in its socket, where it costs
nothing; once that is full, the client waits too. It is read when there is room, or else when the second is over, to be
refused again. Without this a server that is asked for five times what it can do spends most of its time on saying so.

Clients that open a connection for each request are refused as fast as they come.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from typing import Protocol

from mlpipe.serving.headers import RETRY

#: Seconds for which a connection is not read at most: what its client was told to wait.
HELD_SECONDS = float(RETRY[1])
#: Between two looks for room.
_LOOK_SECONDS = 0.05
#: Of the files that the process may open. A client that goes is noticed once its connection is read again.
_SHARE_OF_FILES = 1 / 4


class Reader(Protocol):
    """A connection."""

    def stop_reading(self) -> None:
        """Leave in its socket what comes."""

    def go_on_reading(self) -> None:
        """Read again, if nothing else is in the way."""


class Backpressure:
    """Holds connections, on the event loop that calls it.

    Args:
        room: How many more requests could wait.
        seconds: For which one is held at most.
        most: Connections that are held at once; None: by the limit of open files. One more, and the first is let go.
    """

    def __init__(self, room: Callable[[], int], *, seconds: float = HELD_SECONDS, most: int | None = None) -> None:
        self._room, self._seconds = room, seconds
        self._most = round(_SHARE_OF_FILES * _open_files()) if most is None else most
        #: Until when, the first to be let go in front.
        self._held: dict[Reader, float] = {}

    def hold(self, reader: Reader) -> None:
        """Do not read a connection for now; one that is held already is not held for longer."""
        if reader in self._held:
            return
        loop = asyncio.get_running_loop()
        reader.stop_reading()
        self._held[reader] = loop.time() + self._seconds
        if len(self._held) == 1:
            loop.call_later(_LOOK_SECONDS, self._look)
        elif len(self._held) > self._most:
            self._let_go()

    def _look(self) -> None:
        """Let those go whose time is over, and as many more as there is room for."""
        loop = asyncio.get_running_loop()
        now, room = loop.time(), self._room()
        while self._held and (room > 0 or next(iter(self._held.values())) <= now):
            self._let_go()
            room -= 1
        if self._held:
            loop.call_later(_LOOK_SECONDS, self._look)

    def _let_go(self) -> None:
        """Read the connection again that was held for longest."""
        reader = next(iter(self._held))
        del self._held[reader]
        reader.go_on_reading()


def _open_files() -> int:
    """The limit of open files, which a process may lack."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft
