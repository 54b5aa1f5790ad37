"""An API process: uvicorn with `Front`, forked by the supervisor, with which it talks over a pipe.

From the supervisor come `("versions", versions)`, `("drain",)` and `("reloaded", status, told)`; to it go `("up",)`,
`("reload",)` and `("hung", worker)`.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn

from mlpipe.serving import metrics
from mlpipe.serving.connection import protocol
from mlpipe.serving.front import App, Front, Message, Receive, Scope, Send
from mlpipe.serving.pump import Pump
from mlpipe.serving.settings import Settings

#: How often gauges are set, and it is looked whether the supervisor still lives.
_LOOK_SECONDS = 0.25
#: Time that uvicorn has for open requests beyond their deadline.
_GRACE_SECONDS = 5.0
#: Seconds after which an idle connection is closed; longer than load balancers keep theirs.
_KEEP_ALIVE_SECONDS = 75


class ApiProcess:
    """What runs in the process; also the `Control` of its `Front`.

    Args:
        settings: How bundles are served.
        addresses: The workers' sockets.
        rest: The application that answers what `Front` doesn't.
        pipe: To the supervisor.
    """

    def __init__(self, settings: Settings, addresses: Sequence[str], rest: App, pipe: Connection) -> None:
        limits = settings.limits
        queue = max(1, limits.queue // settings.api_servers)
        self.settings, self.pipe = settings, pipe
        self.pump = Pump(
            addresses,
            batch=settings.batch,
            queue=queue,
            deadline=limits.deadline,
            observe=lambda timing: metrics.waited(timing.waited),
            hung=lambda number: pipe.send(("hung", number)),
        )
        self.front = Front(
            settings, self.pump, rest, metrics=metrics.exposition, control=self, observe=metrics.answered
        )
        self._supervisor = os.getpid()
        #: Questions for a reload, by their number.
        self._reloads: dict[int, asyncio.Future[tuple[int, dict[str, Any]]]] = {}
        self._asked = 0

    def start(self, sockets: list[socket.socket], number: int) -> BaseProcess:
        """Fork the process.

        Args:
            sockets: Bound and listening.
            number: Of the process.
        """
        process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(sockets,), name=f"mlpipe-api-{number}"
        )
        process.start()
        return process

    def _run(self, sockets: list[socket.socket]) -> None:
        signal.set_wakeup_fd(-1)  # the supervisor's
        gc.freeze()  # what was there before is never garbage: looking through it again and again would cost a twentieth
        config = uvicorn.Config(
            self._app,
            loop="uvloop",
            http=protocol(self.front),
            interface="asgi3",
            ws="none",
            proxy_headers=False,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=round(self.settings.limits.deadline + _GRACE_SECONDS),
        )
        uvicorn.Server(config).run(sockets)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.front(scope, receive, send)
            return
        await receive()
        self.pump.start()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.pipe.fileno(), self._obey)
        watching = [loop.create_task(self._say_up()), loop.create_task(self._watch())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in watching:
            task.cancel()
        loop.remove_reader(self.pipe.fileno())
        await self.pump.stop()
        done: Message = {"type": "lifespan.shutdown.complete"}
        await send(done)

    def _obey(self) -> None:
        """Follow the supervisor's commands."""
        try:
            command, *arguments = self.pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self.pipe.fileno())
            return
        if command == "versions":
            self.front.versions = tuple(arguments[0])
        elif command == "drain":
            self.front.draining = True
        elif command == "reloaded":
            number, status, told = arguments
            if (future := self._reloads.pop(number, None)) is not None and not future.done():
                future.set_result((status, told))

    async def reload(self) -> tuple[int, dict[str, Any]]:
        """See `mlpipe.serving.front.Control`."""
        self._asked += 1
        answer: asyncio.Future[tuple[int, dict[str, Any]]]
        answer = self._reloads[self._asked] = asyncio.get_running_loop().create_future()
        self.pipe.send(("reload", self._asked))
        return await answer

    async def _say_up(self) -> None:
        """Tell the supervisor once requests can be answered."""
        await self.pump.connected.wait()
        self.pipe.send(("up",))

    async def _watch(self) -> None:
        """Keep the gauges, and end when the supervisor is gone: nobody would end us."""
        metrics.QUEUE_LIMIT.set(self.pump.queue)
        while True:
            metrics.QUEUED.set(self.pump.queued)
            metrics.IN_FLIGHT.set(self.pump.held)
            metrics.BODY_BYTES.set(self.front.bodies.held)
            metrics.READY.set(self.pump.ready and not self.front.draining)
            await asyncio.sleep(_LOOK_SECONDS)
            if os.getppid() != self._supervisor:
                os.kill(os.getpid(), signal.SIGTERM)
