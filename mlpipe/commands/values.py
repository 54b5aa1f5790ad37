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
