"""The application of an API process, with a stand-in for the way to the workers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, cast

import pytest

from mlpipe.serving.front import Front, Message, Scope
from mlpipe.serving.pump import Pump
from mlpipe.serving.settings import Limits, Settings, Traffic
from mlpipe.serving.wire import Answer, Question


class Asked:
    """Keeps what is asked, in the place of a pump."""

    ready, full = True, False

    def __init__(self) -> None:
        self.questions: list[Question] = []

    async def ask(self, question: Question) -> Answer:
        self.questions.append(question)
        return Answer(200, b"{}")


class Client:
    """Sends requests to a `Front`."""

    def __init__(self, **settings: Any) -> None:
        self.asked, self.observed = Asked(), Counter[tuple[str, int, str]]()
        self.front = Front(
            Settings(**settings),
            cast(Pump, self.asked),
            self._rest,
            observe=lambda route, status, _seconds, version: self.observed.update([(route, status, version)]),
        )
        self.front.versions = ("one", "two", "three")

    def __call__(self, method: str, path: str, **headers: str) -> tuple[int, dict[bytes, bytes], Any]:
        sent: list[Message] = []
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": named,
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50_000),
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.front(scope, receive, send))
        start, body = sent
        return start["status"], dict(start["headers"]), json.loads(body["body"])

    async def _rest(self, scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"null"})


def test_every_request_has_an_id() -> None:
    client = Client()
    assert client("POST", "/predict", x_request_id="mine")[1][b"x-request-id"] == b"mine"
    made = [client("POST", "/predict")[1][b"x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert [question.request_id for question in client.asked.questions] == [b"mine", *made]
    assert len(client("GET", "/health", x_request_id="x" * 300)[1][b"x-request-id"]) == 256


def test_requests_go_to_versions_by_their_shares_and_are_counted_by_them() -> None:
    client = Client(traffic=Traffic((0.5, 0.5), shadow=2))
    for number in range(60):
        client("POST", "/predict", x_request_id=str(number))
    slots = Counter(question.slot for question in client.asked.questions)
    assert set(slots) == {0, 1}
    assert client.observed == {("/predict", 200, "one"): slots[0], ("/predict", 200, "two"): slots[1]}


@pytest.mark.parametrize(
    ("path", "slot"),
    [
        ("/v2/models/model/versions/two/infer", 1),
        ("/v2/models/model/versions/three/infer", 2),
        ("/invocations", 0),
    ],
)
def test_a_version_in_the_path_is_the_one_that_is_asked(path: str, slot: int) -> None:
    client = Client(traffic=Traffic((1.0, 0.0)))
    assert client("POST", path)[0] == 200
    assert [question.slot for question in client.asked.questions] == [slot]


def test_a_version_that_is_not_served_is_refused_with_those_that_are() -> None:
    status, _, told = Client()("POST", "/v2/models/model/versions/four/infer")
    assert (status, told["detail"]) == (404, "There is no version 'four'; there are: one, two, three.")


def test_what_a_model_says_of_itself_is_the_first_versions() -> None:
    client = Client(traffic=Traffic((0.0, 1.0)))
    assert client("GET", "/openapi.json")[0] == 200
    assert [question.slot for question in client.asked.questions] == [0]


def test_a_rate_is_that_of_an_address_whatever_its_headers_say() -> None:
    client = Client(limits=Limits(rate=2.0))
    statuses = [client("POST", "/predict", x_api_key=str(number))[0] for number in range(4)]
    assert statuses == [200, 200, 429, 429]


def test_where_there_are_keys_a_rate_is_that_of_a_key_however_it_is_sent() -> None:
    client = Client(limits=Limits(rate=2.0), keys=("first", "second"))
    forms = [
        {"x_api_key": "first"},
        {"authorization": "Bearer first"},
        {"authorization": "bearer  first"},
        {"x_api_key": "first", "authorization": "Basic made-up"},
    ]
    assert [client("POST", "/predict", **form)[0] for form in forms] == [200, 200, 429, 429]
    assert client("POST", "/predict", x_api_key="second")[0] == 200
    assert client("POST", "/predict", x_api_key="third")[0] == 401
