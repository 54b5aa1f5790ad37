"""The loop that answers API processes over sockets; its peers are played by the test."""

from __future__ import annotations

import selectors
import socket

from mlpipe.serving.wire import Frames
from mlpipe.serving.worker import SocketLoop


def test_an_api_process_that_is_gone_is_forgotten_once() -> None:
    loop = SocketLoop()
    loop._selector = selectors.DefaultSelector()
    ours, theirs = socket.socketpair()
    loop._selector.register(ours, selectors.EVENT_READ, Frames())
    theirs.close()
    loop._forget(ours)
    loop._forget(ours)  # a worker may hold two batches of one process
    assert ours.fileno() < 0
    assert not loop._selector.get_map()
