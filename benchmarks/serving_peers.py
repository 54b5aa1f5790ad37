"""What `benchmarks/serving.py` starts: servers that do no work.

python benchmarks/serving_peers.py litserve --port P
python benchmarks/serving_peers.py asgi --port P
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("litserve", "asgi"))
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if args.what == "litserve":
            api = NoWork(max_batch_size=64, batch_timeout=0.005)
            server = LitServer(api, accelerator="cpu")
            server.run(
                port=args.port, host="127.0.0.1", num_api_servers=1, log_level="error", generate_client_file=False
            )
        else:
            uvicorn.run(nothing, host="127.0.0.1", port=args.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
