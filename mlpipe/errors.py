"""The errors a user may see.

A mistake of the user's ends in one sentence that names the file, column or key and says what would be
right, and in exit code 2; `mlpipe.cli` prints it without a traceback. Everything else is our mistake:
exit code 1, with a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MlpipeError(Exception):
    """Base class: catch it to catch every error mlpipe raises on purpose."""


class ConfigError(MlpipeError, ValueError):
    """A key or a value of the configuration is wrong."""


class DataError(MlpipeError, ValueError):
    """A file, a column or a row is not what it has to be."""


class InputError(DataError):
    """A row sent for prediction does not fit the schema.

    Args:
        reason: What is wrong, without the place where a row is given: the place is put before it.
        field: The column at fault, if it is one column.
        row: Index of the row at fault within the request, if it is one row.

    Examples:
        >>> str(InputError("expected a number, got 'abc'", field="age", row=3))
        "row 3, field 'age': expected a number, got 'abc'"
    """

    def __init__(self, reason: str, *, field: str | None = None, row: int | None = None) -> None:
        column = "" if field is None else f", field {field!r}"
        super().__init__(reason if row is None else f"row {row}{column}: {reason}")
        self.reason = reason
        self.field = field
        self.row = row

    def at(self, row: int | None) -> InputError:
        """The same error of another row."""
        return InputError(self.reason, field=self.field, row=row)


class BundleError(MlpipeError, ValueError):
    """A bundle is damaged, incomplete or not one of ours."""


class TrainingError(MlpipeError, RuntimeError):
    """Training cannot go on, for example because the loss is not finite."""


def how_many(count: int, one: str, many: str | None = None) -> str:
    """A number and what it counts, in the singular or the plural; `many` is `one` with an s if it is not given.

    Examples:
        >>> how_many(1, "row"), how_many(2_500, "row"), how_many(0, "row has", "rows have")
        ('1 row', '2,500 rows', '0 rows have')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def closest(name: str, options: Iterable[str]) -> str | None:
    """The option that is written most like `name`, whatever the case of its letters; None if none is close.

    Examples:
        >>> closest("Prise", ["price", "carat"]), closest("zzz", ["price", "carat"])
        ('price', None)
    """
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def did_you_mean(name: str, options: Iterable[object]) -> str:
    """The end of an error sentence: the closest of `options`, or all of them if none is close.

    Args:
        name: What the user wrote.
        options: What would have been right.

    Returns:
        A string that starts with a blank, or an empty one if there are no options.

    Examples:
        >>> did_you_mean("prise", ["price", "carat"])
        " Did you mean 'price'?"
        >>> did_you_mean("zzz", ["price", "carat"])
        ' There are: carat, price.'
    """
    names = sorted({str(option) for option in options})
    if not names:
        return ""
    if meant := closest(name, names):
        return f" Did you mean {meant!r}?"
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return f" There are: {shown}."
