"""What `benchmarks/serving.py` starts: servers that do no work, and a sender that waits for nobody.

python benchmarks/serving_peers.py litserve --port P
python benchmarks/serving_peers.py asgi --port P
python benchmarks/serving_peers.py load --port P --bodies FILE --rate R --seconds S
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from litserve import LitAPI, LitServer

Message = MutableMapping[str, Any]


class NoWork(LitAPI):  # type: ignore[misc]  # LitServe has no types
    """A model that does not look at the request."""

    def setup(self, device: str) -> None:
        """There is nothing to load."""

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, x: list[Any]) -> list[dict[str, float]]:
        return [{"prediction": 0.5}] * len(x)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        return output


async def nothing(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """An ASGI application that reads the body and answers the same to all."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b'{"prediction":0.5}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Sender(asyncio.Protocol):
    """One connection: requests go out when their time has come, one behind the other, and are answered in order."""

    def __init__(self, latencies: list[float], errors: list[str]) -> None:
        self.latencies, self.errors = latencies, errors
        self.due: deque[float] = deque()
        self.transport: asyncio.WriteTransport | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._held) < end + 4 + length:
                return
            if not head.startswith(b"http/1.1 200"):
                self.errors.append(head[:12].decode())
            self.latencies.append(time.perf_counter() - self.due.popleft())
            self._held = self._held[end + 4 + length :]

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += ["lost"] * len(self.due)
        self.due.clear()


async def send_at(
    port: int, bodies: list[bytes], rate: float, seconds: float, connections: int = 64
) -> dict[str, float]:
    """Send requests at a rate; each goes over the connection with the fewest that are unanswered."""
    latencies: list[float] = []
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: Sender(latencies, errors), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    requests = [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body)
        for body in bodies
    ]
    start, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - start) < seconds:
        while sent / rate <= now:
            sender = min(senders, key=lambda one: len(one.due))
            assert sender.transport is not None  # it is connected
            sender.due.append(start + sent / rate)  # when it was to be sent, not when we got to it
            sender.transport.write(requests[sent % len(requests)])
            sent += 1
        await asyncio.sleep(0.001)
    for _ in range(1_000):
        if not any(sender.due for sender in senders):
            break
        await asyncio.sleep(0.01)
    errors += ["unanswered"] * sum(len(sender.due) for sender in senders)
    for sender in senders:
        assert sender.transport is not None  # it is connected
        sender.due.clear()
        sender.transport.close()
    median, last, worst = (float(q) for q in np.quantile(np.array(latencies) * 1e3, (0.5, 0.99, 1.0)))
    return {"sent": sent, "errors": len(errors), "p50_ms": median, "p99_ms": last, "max_ms": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("litserve", "asgi", "load"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if args.what == "litserve":
            api = NoWork(max_batch_size=64, batch_timeout=0.005)
            server = LitServer(api, accelerator="cpu")
            server.run(
                port=args.port, host="127.0.0.1", num_api_servers=1, log_level="error", generate_client_file=False
            )
        elif args.what == "asgi":
            uvicorn.run(nothing, host="127.0.0.1", port=args.port, log_level="error", access_log=False)
        else:
            bodies = args.bodies.read_bytes().splitlines()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                print(json.dumps(runner.run(send_at(args.port, bodies, args.rate, args.seconds))))


if __name__ == "__main__":
    main()
