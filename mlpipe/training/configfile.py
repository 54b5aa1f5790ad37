"""What a user gives in the place of a config and is none: broken YAML, a table, a picture.

jsonargparse would refuse it too, in words that name neither the file nor what would be right.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import yaml

from mlpipe.data.sources import FORMAT_OF_ENDING
from mlpipe.errors import ConfigError

_STARTS_OF_TABLES = (b"PAR1", b"ARROW1")
_COMPRESSED = (".gz", ".zst", ".zip")
_IS_A_CONFIG = "a config is YAML with groups such as `data:` and `model:`"

#: What PyYAML calls things, and what somebody who writes a config calls them.
_PLAIN_WORDS = {
    "mapping values are not allowed here": "no ':' is expected here; indent the line like its neighbours, and put a "
    "text that holds a colon in quotes",
    "found character '\\t' that cannot start any token": "a tab; YAML is indented by blanks only",
    "<block end>, but found '<block mapping start>'": "a key that is indented like those above it",
    "<block end>": "the end of the block",
    "'<stream end>'": "the end of the file",
    "end of stream": "end of file",
    "'<document start>'": "one document",
}


def check_config_files(args: Sequence[str]) -> None:
    """Refuse a `--config` file that is no YAML or holds no keys.

    Args:
        args: The words of the command line; files that are not there are left to jsonargparse, which names them.

    Raises:
        ConfigError: The sentence names the file, and the line and column if it is YAML that went wrong.
    """
    for path in _config_files(args):
        if path.is_file():
            _check_config_file(path)


def looks_like_table(name: str) -> bool:
    """Whether a file's name is that of a table.

    Examples:
        >>> looks_like_table("churn.csv.gz"), looks_like_table("2013.zip::hour.csv"), looks_like_table("churn.yaml")
        (True, True, False)
    """
    endings = [ending for suffix in PurePath(name).suffixes if (ending := suffix.lower()) not in _COMPRESSED]
    return bool(endings) and endings[-1] in FORMAT_OF_ENDING


def _config_files(args: Sequence[str]) -> Iterator[Path]:
    for index, word in enumerate(args):
        if word in ("-c", "--config"):
            yield Path(*args[index + 1 : index + 2])
        elif word.startswith("--config="):
            yield Path(word.removeprefix("--config="))


def _check_config_file(path: Path) -> None:
    content = path.read_bytes()
    if looks_like_table(path.name) or content.startswith(_STARTS_OF_TABLES):
        hint = f"`mlpipe init {shlex.quote(str(path))} --target COLUMN` writes one for it"
        raise ConfigError(f"{path} is a table, no config; {hint}, and `--config` takes that.")
    try:
        values = yaml.safe_load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text; {_IS_A_CONFIG}.") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path} is no YAML: {_explain(error)}.") from error
    except yaml.YAMLError as error:  # a character that no YAML may hold
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no keys; {_IS_A_CONFIG}.")


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Where the parser gave up and what it had expected there; if known, within what and since where."""
    problem = str(error.problem or error.context)
    for jargon, plain in _PLAIN_WORDS.items():
        problem = problem.replace(jargon, plain)
    mark = error.problem_mark or error.context_mark
    assert mark is not None  # PyYAML gives one of them
    text = f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    start = error.context_mark
    if error.context and start is not None and start.line != mark.line:
        text += f" ({error.context} that begins in line {start.line + 1}, column {start.column + 1})"
    return text
