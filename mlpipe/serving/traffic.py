"""Which version answers which request: shares that stick to the request's id, and a version in the shadow.

    models:/flights, champion=90, challenger=10     nine of ten requests go to the champion, by their id
    models:/flights@champion, shadow challenger     all are answered by the champion, and then by the challenger too

A request goes where the hash of its id leads: the same id always goes to the same version, in every process and after
every restart, and nothing has to be remembered. One who wants a person to see one version alone sends the person's id.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mlpipe.errors import ConfigError
from mlpipe.serving.settings import Traffic
from mlpipe.serving.versions import SCHEME, Reference

_SCALE = 2.0**-64


def fraction(request_id: bytes, purpose: bytes) -> float:
    """A number from 0 up to 1 that depends on the id alone and is spread evenly over ids.

    Args:
        request_id: Of the request.
        purpose: Draws of different purposes are independent; at most 16 bytes.

    Examples:
        >>> fraction(b"r1", b"log") == fraction(b"r1", b"log") != fraction(b"r1", b"traffic")
        True
    """
    digest = hashlib.blake2b(request_id, digest_size=8, person=purpose).digest()
    # 53 bits are what a float holds; with 64, the largest would be rounded to 1.
    return (int.from_bytes(digest) >> 11 << 11) * _SCALE


class Router:
    """Chooses the slot of a request.

    Args:
        shares: As `Traffic` has them.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self._bounds = tuple(accumulate(shares))[:-1]

    def __call__(self, request_id: bytes) -> int:
        """The slot that answers the request of this id."""
        return bisect_right(self._bounds, fraction(request_id, b"traffic")) if self._bounds else 0


@dataclass(frozen=True)
class Plan:
    """What is served.

    Attributes:
        references: Of the versions, in the order of their slots.
        traffic: Which of them answers.
    """

    references: tuple[str, ...]
    traffic: Traffic


def plan(bundle: str, ab: Mapping[str, float] | None = None, shadow: str | None = None) -> Plan:
    """What a command line asks for.

    Args:
        bundle: A path or a `models:/` reference.
        ab: Weights by alias; shares are their parts of the sum.
        shadow: The alias that answers in the shadow.

    Raises:
        ConfigError: Aliases are asked of what has none, or contradict each other.

    Examples:
        >>> plan("models:/flights", {"champion": 90, "challenger": 10})
        Plan(references=('models:/flights@champion', 'models:/flights@challenger'),
            traffic=Traffic(shares=(0.9, 0.1), shadow=None))
    """
    reference = Reference.parse(bundle)
    option = "--ab" if ab else "--shadow"
    if reference is None and (ab or shadow):
        raise ConfigError(f"{option} needs a model in a registry, models:/NAME, not the bundle {bundle!r}.")
    references, shares = [bundle], tuple[float, ...]()
    if reference is not None and ab:
        if str(reference) != f"{SCHEME}{reference.name}":
            raise ConfigError(f"{bundle!r} and --ab both say what is served; write models:/{reference.name}.")
        references = [str(Reference(reference.name, alias)) for alias in ab]
        shares = tuple(weight / sum(ab.values()) for weight in ab.values())
    if reference is not None and shadow:
        hidden = str(Reference(reference.name, shadow))
        if hidden in references:
            raise ConfigError(f"--shadow {shadow!r} is the alias whose answers are returned; name another.")
        return Plan((*references, hidden), Traffic(shares, len(references)))
    return Plan(tuple(references), Traffic(shares))
