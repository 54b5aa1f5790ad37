"""The `mlpipe` command: finds the verb, calls `mlpipe.commands.<verb>.run`, and turns errors into exit codes.

- `mlpipe --help` loads neither torch nor Polars: a verb's module is imported when the verb is called.
- A user's mistake, or a place that can't be written to, is one sentence on stderr and exit code 2; ours is a traceback
  and exit code 1.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from mlpipe import __version__
from mlpipe.commands.arguments import VERBS, Parser, build_parsers, common
from mlpipe.errors import ConfigError, MlpipeError, did_you_mean
from mlpipe.files import system_error_number
from mlpipe.logs import configure_logging

logger = logging.getLogger(__name__)

USER_ERROR = 2
OUR_ERROR = 1
INTERRUPTED = 130
BROKEN_PIPE = 141

#: What the place of a file can be like, which is not for us to mend: the error's number, and what would help.
_PLACES = {
    errno.EACCES: "choose a place that you may use",
    errno.EPERM: "choose a place that you may use",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOSPC: "make room there, or choose another disk",
    errno.EDQUOT: "make room there, or choose another disk",
    errno.EFBIG: "choose a place for files of that size",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EISDIR: "name a file instead",
    errno.EBUSY: "choose a place that nothing else uses",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: The words after `mlpipe`; those of the process by default.

    Returns:
        The exit code: 0, 2 for a user's mistake, 1 for ours, 130 if interrupted, 141 if nobody read the output.
    """
    options = argparse.Namespace(log=None, quiet=False, debug=False)
    try:
        options, words = common().parse_known_args(sys.argv[1:] if argv is None else list(argv))
        _configure_logging(options)
        code = _dispatch(words, options)
        sys.stdout.flush()
    except MlpipeError as error:
        return _report_mistake(error, str(error), options)
    except KeyboardInterrupt:
        _complain("interrupted", options.log)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has left. What is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit as stop:  # --help, and parsers of libraries
        return _exit_code(stop)
    except OSError as error:
        number = system_error_number(error)
        if number is None or number not in _PLACES:
            return _report_bug(error, options.log)
        file = "" if error.filename is None else f"{error.filename}: "
        return _report_mistake(error, f"{file}{os.strerror(number)}; {_PLACES[number]}.", options)
    except Exception as error:  # noqa: BLE001  # the last resort: told as ours, with its traceback
        return _report_bug(error, options.log)
    return code


def _dispatch(words: Sequence[str], options: argparse.Namespace) -> int:
    top, parsers = build_parsers()
    if not words:
        top.print_help(sys.stderr)
        return USER_ERROR
    name, rest = words[0], list(words[1:])
    if name in ("-h", "--help"):
        top.print_help()
        return 0
    if name == "--version":
        sys.stdout.write(f"mlpipe {__version__}\n")
        return 0
    if name not in VERBS:
        what = "option" if name.startswith("-") else "command"
        raise ConfigError(f"mlpipe has no {what} {name!r}.{did_you_mean(name, VERBS)}")
    args = _parse(parsers[name], rest, options, takes_rest=VERBS[name].takes_rest)
    code: int = importlib.import_module(f"mlpipe.commands.{name}").run(args)
    return code


def _parse(parser: Parser, words: list[str], options: argparse.Namespace, *, takes_rest: bool) -> argparse.Namespace:
    if takes_rest:
        args, rest = parser.parse_known_args(words, options)
        args.rest = rest
        return args
    parser.check_options(words)
    return parser.parse_args(words, options)


def _configure_logging(options: argparse.Namespace) -> None:
    options.log = options.log or ("rich" if sys.stderr.isatty() else "plain")
    level = logging.WARNING if options.quiet else logging.DEBUG if options.debug else logging.INFO
    configure_logging(options.log, level)


def _report_mistake(error: Exception, sentence: str, options: argparse.Namespace) -> int:
    if options.debug:
        traceback.print_exception(error)
    _complain(sentence, options.log)
    return USER_ERROR


def _complain(sentence: str, mode: str | None) -> None:
    if mode == "json":
        logger.error(sentence)
    else:
        sys.stderr.write(f"error: {sentence}\n")


def _report_bug(error: Exception, mode: str | None) -> int:
    sentence = "This is a fault in mlpipe, not yours: please report it together with the traceback."
    if mode == "json":
        logger.error(sentence, exc_info=error)
    else:
        traceback.print_exc()
        sys.stderr.write(f"error: {type(error).__name__}. {sentence}\n")
    return OUR_ERROR


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return OUR_ERROR
