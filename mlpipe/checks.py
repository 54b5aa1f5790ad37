"""Whether values are of the types that their annotations say; standard library only.

A config from a file comes through a parser that knows the types; what a program passes does not, and a text in the
place of a number would be an error of Python's somewhere else, one in the place of a yes or no simply a yes.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any

from mlpipe.errors import ConfigError

_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    types.NoneType: "None",
    list: "a list",
    dict: "a mapping",
    collections.abc.Mapping: "a mapping",
}


def check_types(record: Any, group: str) -> None:
    """Refuse a field of a dataclass that holds a value of another type than its annotation says.

    What lists hold is looked at too, what mappings hold is not.

    Args:
        record: The dataclass.
        group: What its fields are called by in a config, such as `training`.

    Raises:
        ConfigError: Names the key, and says what it has to be.
    """
    for name, annotation in typing.get_type_hints(type(record)).items():
        check_type(f"{group}.{name}", getattr(record, name), annotation)


def check_type(name: str, value: object, annotation: Any) -> None:
    """Refuse a value of another type than an annotation says.

    Args:
        name: What the value is called.
        value: A whole number is a number too; True and False are none.
        annotation: Classes, `None`, `Any`, lists, mappings, literals, and any one of several.

    Raises:
        ConfigError: Names the value, and says what it has to be.

    Examples:
        >>> check_type("lr", 1, float | None)
        >>> check_type("lr", "0.1", float | None)
        Traceback (most recent call last):
        mlpipe.errors.ConfigError: `lr` is '0.1'; it has to be a number or None.
    """
    if not _is_of(value, annotation):
        *others, last = dict.fromkeys(_words(annotation))
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"`{name}` is {value!r}; it has to be {wanted}.")


def _is_of(value: object, annotation: Any) -> bool:
    if annotation is Any:
        return True
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, one) for one in inner)
    if origin is typing.Literal:
        return any(value == word and isinstance(value, bool) == isinstance(word, bool) for word in inner)
    if origin is list:
        return isinstance(value, list | tuple) and all(_is_of(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, collections.abc.Mapping)
    if annotation in (int, float):
        return isinstance(value, int if annotation is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin or annotation or types.NoneType)


def _words(annotation: Any) -> list[str]:
    """What a value may be, one by one."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return [word for one in inner for word in _words(one)]
    if origin is typing.Literal:
        return [repr(word) for word in inner]
    if origin is list and inner[0] is str:
        return ["a list of texts"]
    kind = origin or annotation
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return [_WORDS.get(kind) or f"{article} {kind.__name__}"]
