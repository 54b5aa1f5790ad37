"""What an API process and a worker say to each other over a Unix socket: batches of questions, batches of answers.

One message carries many requests, as the bytes that came from the client: HTTP is all that is done for each of them
alone, and the worker parses, preprocesses and predicts them together. A frame is a head, a fixed record for each item,
and then the items' bytes:

    questions   length, batch, count | kind, slot, length of id, length of body, … | id, body, …
    answers     length, batch, count, seconds | status, length of body, … | body, …

Integers are big-endian and unsigned, as `struct` writes them; the length counts what follows it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

_LENGTH = struct.Struct("!I")
_QUESTIONS, _QUESTION = struct.Struct("!IH"), struct.Struct("!BBHI")
_ANSWERS, _ANSWER = struct.Struct("!IHd"), struct.Struct("!HI")

#: Longer messages are refused: the other side has lost its place.
LONGEST = 2**30
#: Items of one batch.
MOST_ITEMS = 2**16 - 1


class Kind(IntEnum):
    """What a body asks for."""

    PREDICT = 0
    INVOCATIONS = 1
    INFER = 2
    MODEL = 3
    OPENAPI = 4


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        kind: What is asked.
        body: As it came from the client.
        slot: The version that is to answer, by its place among those served.
        request_id: The client's name of the request, or empty.
    """

    kind: int
    body: bytes
    slot: int = 0
    request_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told: an HTTP status and a body, which is JSON."""

    status: int
    body: bytes


def pack_questions(batch: int, questions: Sequence[Question]) -> bytes:
    """A frame of questions.

    Args:
        batch: Comes back with the answers.
        questions: At most `MOST_ITEMS`; ids of at most 65,535 bytes.
    """
    head = [_QUESTIONS.pack(batch, len(questions))]
    head += [_QUESTION.pack(q.kind, q.slot, len(q.request_id), len(q.body)) for q in questions]
    return _framed([*head, *(part for q in questions for part in (q.request_id, q.body))])


def unpack_questions(frame: bytes) -> tuple[int, list[Question]]:
    """The batch's number and its questions; the inverse of `pack_questions` without the length."""
    batch, count = _QUESTIONS.unpack_from(frame)
    place = _QUESTIONS.size + count * _QUESTION.size
    questions = []
    for kind, slot, id_length, length in _records(_QUESTION, frame, _QUESTIONS.size, count):
        body = place + id_length
        questions.append(Question(kind, frame[body : body + length], slot, frame[place:body]))
        place = body + length
    return batch, questions


def pack_answers(batch: int, answers: Sequence[Answer], seconds: float) -> bytes:
    """A frame of answers, in the order of the questions.

    Args:
        batch: Of the questions.
        answers: One for each question.
        seconds: How long the worker worked on them.
    """
    head = [_ANSWERS.pack(batch, len(answers), seconds)]
    head += [_ANSWER.pack(a.status, len(a.body)) for a in answers]
    return _framed([*head, *(a.body for a in answers)])


def unpack_answers(frame: bytes) -> tuple[int, list[Answer], float]:
    """The batch's number, its answers, and the worker's seconds; the inverse of `pack_answers` without the length."""
    batch, count, seconds = _ANSWERS.unpack_from(frame)
    place = _ANSWERS.size + count * _ANSWER.size
    answers = []
    for status, length in _records(_ANSWER, frame, _ANSWERS.size, count):
        answers.append(Answer(status, frame[place : place + length]))
        place += length
    return batch, answers, seconds


class Frames:
    """Cuts a stream of bytes into frames.

    Examples:
        >>> frames, stream = Frames(), bytes([0, 0, 0, 2, 97, 98, 0, 0, 0, 0])
        >>> [list(frames.feed(part)) for part in (stream[:5], stream[5:])]
        [[], [b'ab', b'']]
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with these bytes.

        Raises:
            ValueError: A frame says that it is longer than any can be.
        """
        self._held += data
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > LONGEST:
                raise ValueError(f"A frame of {length} bytes; the stream is out of step.")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            yield bytes(memoryview(self._held)[_LENGTH.size : end])
            del self._held[:end]


def _framed(parts: Sequence[bytes]) -> bytes:
    return b"".join((_LENGTH.pack(sum(map(len, parts))), *parts))


def _records(record: struct.Struct, frame: bytes, start: int, count: int) -> Iterator[tuple[int, ...]]:
    return record.iter_unpack(memoryview(frame)[start : start + count * record.size])


#: What a worker says first: a connection may be to one that is just dying. Batches are counted from 1.
HELLO = pack_answers(0, (), 0.0)
