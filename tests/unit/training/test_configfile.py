"""What is no config is refused by its name, with the place at which it goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.training.configfile import check_config_files, looks_like_table


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        check_config_files(["--config", name])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "data:\n  path: churn.csv\n   target: y\n",
            (
                "3, column 10: no ':' is expected here; indent the line like its neighbours, and put a text that holds "
                "a colon in quotes"
            ),
        ),
        (
            "data: {path: churn.csv\nmodel: {width: 16}\n",
            (
                "2, column 6: expected ',' or '}', but got ':' (while parsing a flow mapping that begins in line 1, "
                "column 7)"
            ),
        ),
        ("data: {path: [", "1, column 15: expected the node content, but found the end of the file"),
        ("data:\n\tpath: churn.csv\n", "2, column 1: a tab; YAML is indented by blanks only"),
        (
            "data:\n  path: churn.csv\n target: y\n",
            (
                "3, column 2: expected a key that is indented like those above it (while parsing a block mapping that "
                "begins in line 1, column 1)"
            ),
        ),
        (
            "data:\n  path: 'churn.csv\n",
            (
                "3, column 1: found unexpected end of file (while scanning a quoted scalar that begins in line 2, "
                "column 9)"
            ),
        ),
        ("data: {path: *churn}", "1, column 14: found undefined alias 'churn'"),
    ],
)
def test_broken_yaml_is_told_with_line_and_column(text: str, problem: str) -> None:
    assert refusal("wrong.yaml", text) == f"wrong.yaml is no YAML: line {problem}."


def test_a_character_that_yaml_cannot_hold() -> None:
    sentence = refusal("wrong.yaml", "data: {path: '\x00'}")
    assert sentence.startswith("wrong.yaml is no YAML: ")
    assert "\n" not in sentence
    assert "#x0000" in sentence


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "is no text"),
        ("- 1", "holds no keys"),
        ("# nothing", "holds no keys"),
        ("age,job\n39,clerk\n", "holds no keys"),
    ],
)
def test_a_file_without_keys(content: str | bytes, what: str) -> None:
    sentence = f"wrong.yaml {what}; a config is YAML with groups such as `data:` and `model:`."
    assert refusal("wrong.yaml", content) == sentence


@pytest.mark.parametrize(
    ("name", "content"), [("churn.csv", "a,b\n1,2\n"), ("churn.ndjson", '{"a": 1}\n'), ("any.yaml", b"PAR1\x15\x04")]
)
def test_a_table_is_told_from_a_config(name: str, content: str | bytes) -> None:
    assert refusal(name, content) == (
        f"{name} is a table, no config; `mlpipe init {name} --target COLUMN` writes one for it, and `--config` takes "
        "that."
    )


@pytest.mark.parametrize("form", ["--config=wrong.yaml", "--config wrong.yaml", "-c wrong.yaml"])
def test_every_way_to_name_a_config_is_looked_at(form: str) -> None:
    Path("wrong.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match=r"wrong\.yaml holds no keys"):
        check_config_files(["--model.width", "3", *form.split()])


def test_what_is_a_config_or_not_there_passes() -> None:
    Path("right.csv.yaml").write_text("data: {path: a.csv}")
    check_config_files(["--config", "right.csv.yaml", "--config=nowhere.yaml", "--config"])


@pytest.mark.parametrize(("name", "is_table"), [("a.TSV", True), ("a.csv.yaml", False), ("a.zip", False), ("a", False)])
def test_names_of_tables(name: str, is_table: bool) -> None:
    assert looks_like_table(name) is is_table
