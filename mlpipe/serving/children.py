"""What the supervisor has to do with: its children, signals, and connections that come too late."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from mlpipe.serving.settings import Slot

#: For the request of a client that is turned away.
_TURN_AWAY_SECONDS, _TURN_AWAY_READS = 0.2, 16
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-type: application/json\r\ncontent-length: 29\r\n\r\n"
    b'{"detail":"The server ends."}'
)

Starter = Callable[[int, Connection, Sequence[Slot]], BaseProcess]


@dataclass
class Child:
    """A place for a process, and the process that has it now.

    Attributes:
        kind: `worker` or `api`.
        number: Among its kind.
        start: Starts one.
        process: The process.
        pipe: The way to it.
        ready: Whether it said that it is.
        since: When it was started.
        early: How often in a row it died early.
        due: When it is to be started again.
    """

    kind: str
    number: int
    start: Starter
    process: BaseProcess | None = None
    pipe: Connection | None = None
    ready: bool = False
    since: float = 0.0
    early: int = 0
    due: float = 0.0


def tell(child: Child, *message: object) -> None:
    """Send a message, unless the child is gone, which is noticed by itself."""
    if child.pipe is not None:
        with contextlib.suppress(OSError):
            child.pipe.send(message)


def end(children: Sequence[Child], seconds: float) -> None:
    """End the processes that are left: in order if they do within the time, else at once."""
    processes = [child.process for child in children if child.process is not None]
    for process in processes:
        process.terminate()
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def signals(caught: list[int]) -> Iterator[socket.socket]:
    """Signals are put into a list, and wake whoever waits for the socket. Handlers are set, so that PID 1 gets them."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    pid = os.getpid()

    def catch(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == pid:
            caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()


def turn_away(sockets: Sequence[socket.socket]) -> None:
    """Answer connections that came when the API processes took no more: closing the port would reset them."""
    for listening in sockets:
        listening.listen(0)  # what is in the queue comes out, and hardly anything goes in
        listening.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(_TURN_AWAY_SECONDS)
                    connection.recv(2**16)
                    connection.sendall(_TURNED_AWAY)
                    connection.shutdown(socket.SHUT_WR)
                    for _ in range(_TURN_AWAY_READS):  # closing with bytes unread would reset the connection
                        if not connection.recv(2**16):
                            break


def socket_path(folder: Path, number: int) -> str:
    """The address of a worker; Unix sockets have paths of at most 107 bytes."""
    return str(folder / f"w{number}")
