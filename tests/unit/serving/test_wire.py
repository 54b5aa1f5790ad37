"""What one side packs the other unpacks, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.serving.wire import (
    LONGEST,
    Answer,
    Frames,
    Question,
    pack_answers,
    pack_questions,
    unpack_answers,
    unpack_questions,
)

questions = st.builds(Question, st.integers(0, 255), st.binary(), st.integers(0, 255), st.binary(max_size=20))
answers = st.builds(Answer, st.integers(100, 599), st.binary())
numbers = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(numbers, st.lists(questions, max_size=4)), max_size=4), st.integers(1, 40))
def test_questions_come_out_as_they_went_in(batches: list[tuple[int, list[Question]]], cut: int) -> None:
    stream = b"".join(pack_questions(number, batch) for number, batch in batches)
    frames = Frames()
    parts = [stream[start : start + cut] for start in range(0, len(stream), cut)]
    assert [unpack_questions(frame) for part in parts for frame in frames.feed(part)] == batches


@given(numbers, st.lists(answers, max_size=5), st.floats(0, 100))
def test_answers_come_out_as_they_went_in(number: int, batch: list[Answer], seconds: float) -> None:
    (frame,) = Frames().feed(pack_answers(number, batch, seconds))
    assert unpack_answers(frame) == (number, batch, seconds)


def test_a_stream_out_of_step_is_noticed() -> None:
    with pytest.raises(ValueError, match="out of step"):
        list(Frames().feed((LONGEST + 1).to_bytes(4, "big")))
