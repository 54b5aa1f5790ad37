"""Logging: one call that sets it up, JSON lines for machines, and how long things took.

- `configure_logging` is for programs (the command line, the server); a library that imports mlpipe sets up its own.
- Fields travel in `extra`: `logger.info("Read the table", extra={"rows": 10})` shows them behind the message in plain
  text and as keys of the JSON line.
- `log_execution_time` and `logged` say how long a block or a function took, and that it failed if it did.

Standard library only at import; rich is loaded when its mode is chosen.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, ParamSpec, TypeVar

from mlpipe.errors import MlpipeError

P = ParamSpec("P")
R = TypeVar("R")

Mode = Literal["rich", "plain", "json", "quiet"]

#: What every LogRecord has; the rest of its attributes came in through `extra`.
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the extra fields, and a traceback if any.

    Examples:
        >>> record = logging.LogRecord("mlpipe", logging.INFO, "f.py", 1, "Read %s", ("t.csv",), None)
        >>> json.loads(JsonFormatter().format(record))["message"]
        'Read t.csv'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a value that JSON has no form for is written as its `str`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in extra_fields(record).items() if key not in line}
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class PlainFormatter(logging.Formatter):
    """The message, behind the level if it is a warning or worse, before the extra fields as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text; a traceback, if any, on the lines after it."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{level}{record.getMessage()}{_as_text(extra_fields(record))}"
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _FieldsFormatter(logging.Formatter):
    """For rich, which shows the level and the traceback itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.getMessage()}{_as_text(extra_fields(record))}"


def configure_logging(mode: Mode = "plain", level: int | str = logging.INFO) -> None:
    """Send the log to stderr in the form asked for; Python's warnings come along as log lines.

    Calling it again replaces what the last call set up.

    Args:
        mode: `rich` for a person at a terminal, `plain` text, `json` lines for machines, or `quiet`: plain text, and
            only warnings and errors.
        level: The lowest level shown of mlpipe's own messages; other libraries are shown from warnings up.
    """
    handler: logging.Handler
    if mode == "rich":
        handler = _rich_handler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if mode == "json" else PlainFormatter())
    if mode == "quiet":
        handler.setLevel(logging.WARNING)
    handler.addFilter(_shorten_warning)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("mlpipe").setLevel(level)
    logging.captureWarnings(True)


@contextmanager
def log_execution_time(name: str, logger: logging.Logger | None = None, **fields: object) -> Iterator[None]:
    """Log how long the block took, in seconds, as the field `seconds`.

    Args:
        name: What the block does, for example "fit preprocessing".
        logger: Where the line goes; this module's logger by default.
        **fields: Further fields of the line.

    Raises:
        Exception: Whatever the block raised, after a line that says it failed and why.

    Examples:
        >>> with log_execution_time("add", rows=3):
        ...     _ = sum(range(3))
    """
    logger = logger or logging.getLogger(__name__)
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        # A user's mistake is told once, in one sentence, by whoever catches it.
        level = logging.DEBUG if isinstance(error, MlpipeError) else logging.WARNING
        seconds = round(time.perf_counter() - start, 6)
        logger.log(level, "%s failed", name, extra={**fields, "seconds": seconds, "error": _one_line(error)})
        raise
    logger.info("%s done", name, extra={**fields, "seconds": round(time.perf_counter() - start, 6)})


def logged(name: str | None = None, logger: logging.Logger | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Log how long each call of a function or method took, and that it failed if it did.

    Args:
        name: What the function does; its qualified name by default.
        logger: Where the lines go; the logger of the function's module by default.

    Examples:
        >>> @logged()
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> double(2)
        4
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        label = name or function.__qualname__
        target = logger or logging.getLogger(function.__module__)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with log_execution_time(label, target):
                return function(*args, **kwargs)

        return wrapper

    return decorate


def _rich_handler() -> logging.Handler:
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S", rich_tracebacks=False
    )
    handler.setFormatter(_FieldsFormatter())
    return handler


def _shorten_warning(record: logging.LogRecord) -> bool:
    """`warnings` hands over `file:line: Category: text` and, on the last line, the source; a user needs the text."""
    if record.name == "py.warnings":
        lines = record.getMessage().rstrip().split("\n")
        if len(lines) > 1 and lines[-1].startswith("  "):
            del lines[-1]
        _, found, text = " ".join(lines).partition("Warning: ")
        record.msg, record.args = "%s", (text if found else " ".join(lines),)
    return True


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _as_text(fields: Mapping[str, object]) -> str:
    return "".join(f" {key}={value}" for key, value in fields.items())
