"""A worker process: LitServe's entry, its `LitAPI` with the bundles, and a `LitLoop` that answers batches from sockets.

LitServe's own loops take single requests from a manager's queue. This one listens on a Unix socket, to which every API
process connects; it blocks until there is work, takes all that has come, and answers it in one go.

The supervisor talks to it over a pipe: `("load", slots)` reads, verifies and warms other versions on a thread while the
old ones answer, `("swap",)` puts them in their place.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

from litserve import LitAPI
from litserve.loops.base import LitLoop

from mlpipe.errors import BundleError
from mlpipe.memory import keep_freed_memory
from mlpipe.serving.settings import Settings, Slot
from mlpipe.serving.wire import HELLO, Frames, Question, pack_answers, unpack_questions

if TYPE_CHECKING:
    from mlpipe.serving.engine import Worked

logger = logging.getLogger(__name__)

_READ_BYTES = 2**20
#: How often it is looked whether the supervisor still lives.
_LOOK_SECONDS = 1.0
#: Time for an API process to take its answers; one that doesn't is hung, and is no reason for others to wait.
_SEND_SECONDS = 5.0
#: Time to end in order for a worker whose supervisor is gone.
_END_SECONDS = 5.0


class BundleAPI(LitAPI):  # type: ignore[misc]  # LitServe has no types
    """The versions that a worker answers with.

    Args:
        slots: The versions to start with.
        settings: How they are served.
        address: The Unix socket to listen on.
        control: The pipe to the supervisor.
    """

    def __init__(self, slots: Sequence[Slot], settings: Settings, address: str, control: Connection) -> None:
        super().__init__(api_path="/predict", loop=SocketLoop())
        self.plan = tuple(slots)
        self.settings = settings
        self.address = address
        self.control = control
        self.supervisor = os.getpid()
        self._adopted: tuple[list[Any], tuple[Slot, ...]] | None = None

    def setup(self, device: str) -> None:
        """Load the bundles, warm them, and listen."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends us in turn
        import torch

        from mlpipe.serving.aftermath import Aftermath

        keep_freed_memory()
        torch.set_num_threads(1)  # workers are the parallelism; more threads would only fight for the cores
        try:
            self.served = load(self.plan, self.settings)
        except BundleError as error:
            self.control.send(("refused", str(error)))
            sys.exit(1)
        self._tell_backends(self.served)
        self.aftermath = Aftermath(self.settings)
        self.aftermath.serve(self.served, self.plan)
        if self.settings.recording is not None:
            signal.signal(signal.SIGTERM, _leave)  # the default would lose what is not written yet
        self.loop.listen(self.address)
        self.control.send(("ready", [served.version for served in self.served]))
        threading.Thread(target=self._obey, daemon=True).start()

    def predict(self, x: list[Question]) -> Worked:
        """Answer a batch of questions."""
        from mlpipe.serving.engine import work

        adopted = self._adopted
        if adopted is not None:  # between two batches, by the thread that answers: no batch sees half a swap
            self.served, self.plan = adopted
            if self._adopted is adopted:
                self._adopted = None
            self.aftermath.serve(self.served, self.plan)
        return work(x, self.served)

    def _tell_backends(self, served: Sequence[Any]) -> None:
        """Let the supervisor log why the models run as they do: its log is the server's."""
        for reason in (one.online.predictor.backend.reason for one in served):
            if reason:
                self.control.send(("backend", reason))

    def _obey(self) -> None:
        """Follow the supervisor's commands."""
        pending, plan = self.served, self.plan
        while True:
            try:
                command, *arguments = self.control.recv()
            except (EOFError, OSError):  # there is no supervisor any more
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(_END_SECONDS)
                os._exit(0)  # the thread that answers hangs
            if command == "load":
                try:
                    pending, plan = load(arguments[0], self.settings), arguments[0]
                except BundleError as error:
                    self.control.send(("refused", str(error)))
                except Exception as error:  # whatever it is, the old versions go on and the next reload is heard
                    logger.exception("A version could not be loaded.")
                    self.control.send(("refused", f"{type(error).__name__}: {error}"))
                else:
                    self._tell_backends(pending)
                    self.control.send(("loaded", [served.version for served in pending]))
            elif command == "swap":
                self._adopted = pending, plan
                self.control.send(("swapped",))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End by way of Python, so that `SocketLoop.run` can put things in order."""
    sys.exit(0)


def load(slots: Sequence[Slot], settings: Settings) -> list[Any]:
    """Read, verify and warm versions.

    Raises:
        BundleError: One is damaged or cannot answer.
    """
    from mlpipe.bundle.ensemble import read_contents
    from mlpipe.serving.engine import Served, check_alike

    contents = [read_contents(slot.folder) for slot in slots]
    versions = list(dict.fromkeys(one.version for one in contents))
    found = [Served.of(one, settings.name, settings.checks, settings.backend, versions) for one in contents]
    check_alike(found, [slot.folder for slot in slots])
    return found


class SocketLoop(LitLoop):  # type: ignore[misc]  # LitServe has no types
    """Answers the batches that come in over a Unix socket, one pass after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._selector: selectors.BaseSelector | None = None

    def listen(self, address: str) -> None:
        """Open the socket; there may be one left over from a worker that died."""
        if os.path.exists(address):  # noqa: PTH110  # an address, not one of the user's files
            os.unlink(address)  # noqa: PTH108
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(address)
        server.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ, None)

    def run(self, lit_api: BundleAPI, *_: object) -> None:
        """One pass: wait, take all that has come, answer it."""
        try:
            self._pass(lit_api)
        except SystemExit:
            lit_api.aftermath.close()
            raise

    def _pass(self, lit_api: BundleAPI) -> None:
        selector, aftermath = self._selector, lit_api.aftermath
        assert selector is not None  # `setup` has called `listen`
        events = selector.select(0 if aftermath.pending else _LOOK_SECONDS)
        if not events:
            aftermath.idle()
            if os.getppid() != lit_api.supervisor:
                sys.exit(0)
        asked: list[tuple[socket.socket, int, list[Question]]] = []
        for key, _mask in events:
            peer = key.fileobj
            assert isinstance(peer, socket.socket)  # all that was registered
            if key.data is None:
                connection, _address = peer.accept()
                connection.settimeout(_SEND_SECONDS)
                connection.sendall(HELLO)
                selector.register(connection, selectors.EVENT_READ, Frames())
            else:
                asked += [(peer, *unpack_questions(frame)) for frame in self._read(peer, key.data)]
        if not asked:
            return
        started = time.perf_counter()
        worked = lit_api.predict([question for _, _, questions in asked for question in questions])
        seconds, first = time.perf_counter() - started, 0
        for peer, batch, questions in asked:
            own = worked.answers[first : first + len(questions)]
            first += len(questions)
            try:
                peer.sendall(pack_answers(batch, own, seconds))
            except OSError:
                self._forget(peer)  # the API process is gone, and its clients with it
        aftermath.take(worked)  # once nobody waits for it

    def _read(self, peer: socket.socket, frames: Frames) -> list[bytes]:
        try:
            data = peer.recv(_READ_BYTES)
            if data:
                return list(frames.feed(data))
        except (OSError, ValueError):
            logger.warning("The connection of an API process broke.", exc_info=True)
        self._forget(peer)
        return []

    def _forget(self, peer: socket.socket) -> None:
        assert self._selector is not None  # there was a connection
        if peer.fileno() >= 0:  # a second batch of the same process is answered after the first found it gone
            self._selector.unregister(peer)
            peer.close()
