"""A version in the shadow: it is asked what another one has answered, and its answers are compared, not returned.

It works in the worker's idle moments: no client waits for it. What there is no time for is dropped, the oldest first,
and counted, so that a server under load loses the comparison and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlpipe.features.target import TargetCodec
from mlpipe.serving.engine import Exchange, Served, Worked, work

#: What waits for an idle moment, at most: requests, and bytes of their bodies.
MOST_WAITING, MOST_BYTES = 1_024, 2**24
#: Two numbers that differ by more of the target's standard deviation than this are different answers.
TOLERANCE = 0.1


@dataclass
class Compared:
    """What came of a batch in the shadow.

    Attributes:
        served: The version that answered it.
        worked: Its answers.
        failed: How many rows it did not answer.
        disagreements: How many rows it answered otherwise.
        differences: Of each row: the largest difference of a probability, or the difference of the numbers in standard
            deviations of the first version's training target.
    """

    served: Served
    worked: Worked
    failed: int = 0
    disagreements: int = 0
    differences: list[float] = field(default_factory=list)


class Shadow:
    """Keeps what is to be answered, and answers it.

    Args:
        batch: Requests that are answered together.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._waiting: deque[Exchange] = deque()
        self._bytes = 0

    @property
    def pending(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def take(self, exchanges: Sequence[Exchange]) -> int:
        """Keep what another version has answered.

        Returns:
            How many rows were dropped for it.
        """
        self._waiting += exchanges
        self._bytes += sum(len(exchange.question.body) for exchange in exchanges)
        dropped = 0
        while len(self._waiting) > MOST_WAITING or self._bytes > MOST_BYTES:
            dropped += len(self._pop().rows)
        return dropped

    def step(self, served: Served) -> Compared:
        """Answer the oldest requests, at most a batch of them."""
        firsts = [self._pop() for _ in range(min(self.batch, len(self._waiting)))]
        worked = work([replace(first.question, slot=0) for first in firsts], [served])
        compared = Compared(served, worked)
        seconds = {second.place: second for second in worked.exchanges}
        for place, first in enumerate(firsts):
            if (second := seconds.get(place)) is None:
                compared.failed += len(first.rows)
                continue
            codec = first.served.online.preprocessors[0].target_
            for agree, difference in _compare(first.records, second.records, codec):
                compared.disagreements += not agree
                compared.differences.append(difference)
        return compared

    def _pop(self) -> Exchange:
        exchange = self._waiting.popleft()
        self._bytes -= len(exchange.question.body)
        return exchange


def _compare(
    firsts: Sequence[dict[str, Any]], seconds: Sequence[dict[str, Any]], codec: TargetCodec
) -> Iterator[tuple[bool, float]]:
    """Whether two versions agree on each row, and how far apart they are."""
    for first, second in zip(firsts, seconds, strict=True):
        if "probabilities" in first:
            shares = second["probabilities"]
            difference = max(abs(share - shares[name]) for name, share in first["probabilities"].items())
            yield first["prediction"] == second["prediction"], difference
        else:
            both = codec.standardised(np.array([first["prediction"], second["prediction"]]))
            difference = float(abs(both[0] - both[1]))
            yield difference <= TOLERANCE, difference
