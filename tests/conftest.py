"""Markers by folder, and what every test starts from."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell starts background jobs with SIGINT ignored, and children inherit that: no server under test would see Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
MARKERS = {"unit": "unit", "property": "unit", "integration": "integration"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            folder = item.path.relative_to(TESTS).parts[0]
            if folder in MARKERS:
                item.add_marker(MARKERS[folder])
        else:
            item.add_marker("unit")  # doctests


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`configure_logging` is for programs: what a test sets up must not outlive it."""
    root, ours = logging.getLogger(), logging.getLogger("mlpipe")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
