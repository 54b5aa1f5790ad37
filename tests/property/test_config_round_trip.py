"""A config that was written is read back as it was, whatever columns, labels and files are called."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonargparse import get_loader

from mlpipe.commands.template import _target
from mlpipe.training.configtext import dump_config
from mlpipe.training.parser import config_from_file

#: Texts that are something else to one of the readers, without quotes.
WORDS = (
    *("1e20", "1e5", "-1E5", "1_0e5", "1_000", "1.", ".5", "1:30", "1:30.5", "0x1f", "0o17", "017", "+1"),
    *("inf", "-Infinity", "nan", ".inf", ".NaN", "true", "No", "null", "~", "2024-01-01", "2024-01-01 10:00:00"),
    *("", " ", "-", "=", "<<", "a: b", "a #b", "{a: b}", "'q'", '"1"', "a\nb", "\x85", "\xa0", "\ufeff", "\u2028"),
)
NUMBERS = st.from_regex(r"[-+]?[0-9_]*[.:]?[0-9_]*([eE][-+]?[0-9]+)?", fullmatch=True)
TEXTS = st.one_of(st.sampled_from(WORDS), NUMBERS, st.text(st.characters(codec="utf-8"), max_size=20))


@given(TEXTS)
@example("x " * 200)
@pytest.mark.parametrize("one_line", [False, True])
def test_a_text_is_the_same_text_to_every_reader(one_line: bool, text: str) -> None:
    values = {"alone": text, "list": ["", text], "keys": {text: text}}
    written = dump_config(values, one_line=one_line)
    assert get_loader("yaml")(written) == yaml.safe_load(written) == values


@settings(max_examples=5, deadline=None)
@given(st.lists(TEXTS, min_size=8, max_size=30))
@example(list(WORDS))
def test_a_config_is_the_same_config_to_its_parser(texts: list[str]) -> None:
    data: dict[str, Any] = {
        "target": list(dict.fromkeys(texts)),
        "columns": dict.fromkeys(texts, "numeric"),
        "target_map": dict(zip(texts, reversed(texts), strict=True)),
    }
    read = {"null_values": texts, "columns": texts, "dtypes": dict.fromkeys(texts, "String")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(dump_config({"data": {"path": "t.csv", **data, "read": read}}), encoding="utf-8")
        config = config_from_file(file)
        for values in (config.values["data"], vars(config.data)):
            assert {name: values[name] for name in data} == data
        assert {name: getattr(config.data.read, name) for name in read} == read
        file.write_text(config.text, encoding="utf-8")
        assert config_from_file(file) == config


@pytest.mark.parametrize("name", ["[yes]", "- x", "-", "[]", "{a: b}", "1e5", "a: b"])
def test_a_target_is_one_name_to_the_parser(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config({"data": {"path": "t.csv", "target": _target([name])}}), encoding="utf-8")
    assert config_from_file(file).data.target in (name, [name])
