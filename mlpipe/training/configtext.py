"""A config as YAML that the config's parser reads back as it was.

jsonargparse takes more words for numbers than PyYAML does, such as 1e5, and PyYAML quotes only those that are numbers
to itself: a column that is called so would come back as a number, and the run's own config would be refused.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import yaml

#: Whatever YAML's number can be made of, times and dates included.
_LIKE_A_NUMBER = re.compile(r"[-+.\d][-+.:_\deE]*")


def dump_config(values: Any, *, one_line: bool = False) -> str:
    """Plain values, and members of an Enum by theirs, as YAML.

    Args:
        values: A config, a part of it, or a single value.
        one_line: Write lists and mappings on one line too, in brackets.

    Examples:
        >>> print(dump_config({"target": "1e5", "width": 64, "null_values": ["", "n/a"]}, one_line=True), end="")
        {target: '1e5', width: 64, null_values: ['', n/a]}
    """
    text: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000, default_flow_style=one_line
    )
    return text


class _Dumper(yaml.SafeDumper):
    """PyYAML's, with quotes around whatever another reader could take for something else than a text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if not text.isprintable():
        # Escaped, in double quotes: PyYAML writes some characters (U+0085) such that it can't read them back, and
        # others (a line feed) on several lines.
        style = '"'
    elif _reads_as_number(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _reads_as_number(text: str) -> bool:
    if _LIKE_A_NUMBER.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


_Dumper.add_representer(str, _represent_text)
# Some of Lightning's callbacks have members of an Enum as defaults, for which YAML has no form.
_Dumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))
