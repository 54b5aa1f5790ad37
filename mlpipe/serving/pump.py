"""The way from HTTP to the workers: requests wait here until they go out together, and are answered in time.

- Nothing waits when a worker is idle: a request that comes alone goes out alone, and those that come meanwhile go
  together. There is no window that opens and closes.
- What waits is bounded (`OverloadedError`), and so is how long (`DeadlineError`), whether the worker is busy, slow or
  hung.
- A worker that dies takes its own batches with it (`WorkerLostError`), and is connected to again when it is back.

Runs on the event loop of an API process; nothing here is for threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from mlpipe.serving.wire import Answer, Frames, Question, pack_questions, unpack_answers

logger = logging.getLogger(__name__)

#: Bytes of one batch, if it has more than one question: large bodies go alone.
MOST_BYTES = 2**16
#: Batches that a worker holds: the one that it works on, and the one that it goes on with.
IN_FLIGHT = 2
#: Until a worker is asked to connect again.
_RECONNECT_SECONDS = 0.05
_SWEEP_SECONDS = 0.02
#: Deadlines after which a worker that has not answered a batch is taken to hang.
HUNG_DEADLINES = 3


class OverloadedError(Exception):
    """More requests wait than may."""


class DeadlineError(Exception):
    """The deadline has passed."""


class WorkerLostError(Exception):
    """The worker died with the request in its hands."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that was not answered yet."""

    question: Question
    future: asyncio.Future[Answer]
    arrived: float
    expires: float


@dataclass(frozen=True)
class Timing:
    """What is told of an answered batch.

    Attributes:
        waited: Seconds of each request that were not the worker's.
        worked: Seconds of the worker.
    """

    waited: list[float]
    worked: float


class Pump:
    """Sends requests to workers in batches.

    Args:
        addresses: The workers' sockets.
        batch: Requests of one batch, at most.
        queue: Requests that may be in the pump.
        deadline: Seconds that a request may be in the pump.
        observe: Is told of each batch that was answered.
        hung: Is told the number of a worker that has held a batch for several deadlines; once for each batch.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        batch: int,
        queue: int,
        deadline: float,
        observe: Callable[[Timing], None] | None = None,
        hung: Callable[[int], None] | None = None,
    ) -> None:
        self.batch, self.queue, self.deadline, self.observe = batch, queue, deadline, observe
        self.hung = hung
        #: Is set once a worker has been there.
        self.connected = asyncio.Event()
        self._links = [_Link(address, self) for address in addresses]
        self._queue: deque[_Waiting] = deque()
        self._all: deque[_Waiting] = deque()
        self._held = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = 0

    @property
    def ready(self) -> bool:
        """Whether a worker is there."""
        return any(link.open for link in self._links)

    @property
    def held(self) -> int:
        """Requests that wait or are worked on."""
        return self._held

    @property
    def room(self) -> int:
        """Requests that could wait besides; below 1 there is none for any."""
        return self.queue - self._held

    @property
    def queued(self) -> int:
        """Requests that no worker has yet."""
        return len(self._queue)

    def start(self) -> None:
        """Connect to the workers, and look after deadlines."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(link.keep()) for link in self._links]
        self._tasks.append(loop.create_task(self._sweep()))

    async def stop(self) -> None:
        """Let go of the workers; whatever is in the pump is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            link.close()

    @property
    def full(self) -> bool:
        """Whether as many requests are in the pump as may be."""
        return self._held >= self.queue

    def put(self, question: Question) -> asyncio.Future[Answer]:
        """A future of the answer to a question; see `ask`. Whoever wants no answer any more cancels it.

        Raises:
            OverloadedError: The pump is full.
        """
        if self.full:
            raise OverloadedError
        now = time.monotonic()
        waiting = _Waiting(question, asyncio.get_running_loop().create_future(), now, now + self.deadline)
        waiting.future.add_done_callback(self._let_go)
        self._held += 1
        self._queue.append(waiting)
        self._all.append(waiting)
        self.send()
        return waiting.future

    def _let_go(self, _: asyncio.Future[Answer]) -> None:
        self._held -= 1

    async def ask(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            OverloadedError: The pump is full.
            DeadlineError: It was not answered in time.
            WorkerLostError: Its worker died.
        """
        return await self.put(question)

    def send(self) -> None:
        """Give what waits to workers that have room, the least busy first."""
        while self._queue:
            free = [link for link in self._links if link.open and len(link.batches) < IN_FLIGHT]
            if not free:
                return
            link = min(free, key=lambda link: len(link.batches))
            if link.batches and len(self._queue) < self.batch // 2:
                return  # it is at work; what comes meanwhile goes with these
            if batch := self._take():
                self._numbers = self._numbers % (2**32 - 1) + 1
                link.send(self._numbers, batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < self.batch:
            length = len(self._queue[0].question.body)
            if batch and size + length > MOST_BYTES:
                break
            waiting = self._queue.popleft()
            if not waiting.future.done():  # it may have timed out, or its client may have gone
                batch.append(waiting)
                size += length
        return batch

    async def _sweep(self) -> None:
        """Tell those whose time is up. All have the same deadline, so that they are in order."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for waiting in self._all:
                if waiting.expires > now:
                    break
                if not waiting.future.done():
                    waiting.future.set_exception(DeadlineError())
            # Also those whose clients have gone: nothing keeps a body that nobody waits for.
            self._all = _open(self._all)
            self._queue = _open(self._queue)
            for number, link in enumerate(self._links):
                if link.hangs(now - HUNG_DEADLINES * self.deadline) and self.hung is not None:
                    self.hung(number)


def _open(waiting: deque[_Waiting]) -> deque[_Waiting]:
    """Those that are not answered."""
    return deque([one for one in waiting if not one.future.done()])


class _Link(asyncio.Protocol):
    """The connection to one worker."""

    def __init__(self, address: str, pump: Pump) -> None:
        self.address, self.pump = address, pump
        self.transport: asyncio.Transport | None = None
        self.open = False
        self.batches: dict[int, list[_Waiting]] = {}
        self._sent: dict[int, float] = {}
        self._frames = Frames()
        self._lost = asyncio.Event()

    async def keep(self) -> None:
        """Connect, and connect again when the worker has died."""
        loop = asyncio.get_running_loop()
        while True:
            self._lost.clear()
            try:
                await loop.create_unix_connection(lambda: self, self.address)
            except OSError:
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                await self._lost.wait()

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.close()

    def send(self, number: int, batch: list[_Waiting]) -> None:
        """Hand over a batch."""
        assert self.transport is not None  # the pump looked
        self.batches[number] = batch
        self._sent[number] = time.monotonic()
        self.transport.write(pack_questions(number, [waiting.question for waiting in batch]))

    def hangs(self, before: float) -> bool:
        """Whether a batch was sent before a time and is not answered; the next look begins anew."""
        found = any(sent < before for sent in self._sent.values())
        if found:
            self._sent.clear()
        return found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody listens; whether it is a worker that will answer is known when it says so."""
        self.transport, self._frames = cast(asyncio.Transport, transport), Frames()  # uvloop's is none by name

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker is gone; its requests are told so."""
        self.transport, self.open = None, False
        for batch in self.batches.values():
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(WorkerLostError())
        self.batches.clear()
        self._sent.clear()
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        """Answers have come. The next batch goes out before they are passed on: the worker has nothing to wait for."""
        answered = [unpack_answers(frame) for frame in self._frames.feed(data)]
        if answered and not self.open:
            self.open = True
            self.pump.connected.set()
        batches = [(self.batches.pop(number, []), answers, seconds) for number, answers, seconds in answered]
        for number, _, _ in answered:
            self._sent.pop(number, None)
        self.pump.send()
        now = time.monotonic()
        for batch, answers, seconds in batches:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(answer)
            if batch and self.pump.observe is not None:
                self.pump.observe(Timing([max(0.0, now - waiting.arrived - seconds) for waiting in batch], seconds))
