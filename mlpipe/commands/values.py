"""What the values of options may be; each complaint is the end of a sentence that argparse begins."""

from __future__ import annotations

import argparse
import math


def port(text: str) -> int:
    """A TCP port.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it has to be a number from 1 to 65535")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; it has to be a whole number from 1")
    return int(text)


def several(text: str) -> int:
    """A whole number from 2.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} has to be a whole number from 2")
    return int(text)


def amount(text: str) -> float:
    """A number above 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} has to be a number above 0")
    return number


def seconds(text: str) -> float:
    """A time from 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    return 0.0 if text in ("0", "0.0") else amount(text)


def share(text: str) -> float:
    """A part of a whole: above 0, at most 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    number = amount(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} has to be at most 1")
    return number


def weights(text: str) -> dict[str, float]:
    """Weights by name.

    Raises:
        argparse.ArgumentTypeError: It is none, or names something twice.

    Examples:
        >>> weights("champion=90,challenger=10")
        {'champion': 90.0, 'challenger': 10.0}
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"{part!r} has to be ALIAS=WEIGHT, such as champion=90")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r} stands there twice")
        found[name] = amount(weight)
    return found
