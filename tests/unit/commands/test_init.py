from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import polars as pl
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mlpipe.cli import main
from mlpipe.commands.template import DEFAULTS, _scalar, preset_values
from mlpipe.data.load import load_table
from mlpipe.features.config import FeaturesConfig
from mlpipe.models import TransformerConfig
from mlpipe.schema import Schema
from mlpipe.training.config import TrainingConfig
from mlpipe.training.parser import parse_config
from mlpipe.training.tracking import TrackingConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table in it, whose column names YAML would misread."""
    monkeypatch.chdir(tmp_path)
    rows = range(200)
    pl.DataFrame(
        {
            "key": [f"customer {i}" for i in rows],
            "no": [i * 0.5 for i in rows],
            "a: b # c": [["red", "green", "blue"][i % 3] for i in rows],
            "when": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in rows],
            "shop": [f"shop {i % 10}" for i in rows],
            "same": [1 for _ in rows],
            "bought": [["no", "yes"][(i // 3) % 2] for i in rows],
        }
    ).write_csv("shop.v2.csv", separator=";")
    return tmp_path


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--target", "bought"], 0)])
def test_blank_lines_are_told_once(
    words: list[str], code: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "shop.v2.csv"
    file.write_text(file.read_text() + "\n\n\n")
    assert main(["init", "shop.v2.csv", *words]) == code
    assert capsys.readouterr().err.count("shop.v2.csv: blank lines are left out: 3") == 1


def without_reasons(schema: Schema) -> Schema:
    return replace(schema, columns=tuple(replace(column, reason="") for column in schema))


def test_the_config_is_what_fit_takes_and_gives_the_same_schema(folder: Path) -> None:
    assert main(["init", "shop.v2.csv", "--target", "bought"]) == 0
    config = parse_config(["--config", "shop.yaml"])
    data = config.data
    assert (data.path, data.target, data.task) == ("shop.v2.csv", "bought", "binary")
    assert (data.read.format, data.read.separator, data.read.header) == ("csv", ";", True)
    assert data.columns == {
        "key": "identifier",
        "no": "numeric",
        "a: b # c": "categorical",
        "when": "date",
        "shop": "categorical",
        "same": "ignore",
    }
    inferred = load_table(replace(data, columns={}, task=None, read=type(data.read)())).schema
    written = load_table(data).schema
    assert [(c.name, c.role) for c in written] == [(c.name, c.role) for c in inferred]
    assert without_reasons(written).features == without_reasons(inferred).features
    assert written.task == inferred.task


def test_columns_are_listed_with_the_reason_and_what_to_do_next(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "shop.v2.csv", "--target", "bought", "--out", "my.yaml"]) == 0
    out = capsys.readouterr().out
    for name in ("key", "no", "a: b # c", "when", "shop", "same", "bought"):
        assert re.search(rf"^{re.escape(name)} {{2,}}\w+ {{2,}}\w+ {{2,}}\S.*$", out, re.MULTILINE), name
    assert "Task: binary, target 'bought'" in out
    assert out.endswith("mlpipe fit --config my.yaml\n")


def test_the_config_says_why_and_what_each_column_is_used_for(folder: Path) -> None:
    assert main(["init", "shop.v2.csv", "--target", "bought", "--time", "when", "--group", "shop"]) == 0
    text = Path("shop.yaml").read_text(encoding="utf-8")
    assert re.search(r"^    no: +numeric {4}# \S", text.replace("'no'", "no"), re.MULTILINE)
    assert "    # 'bought' is the target" in text
    assert "    # 'when' is the time" in text
    assert "    # 'shop' is the group" in text
    data = yaml.safe_load(text)["data"]
    assert (data["time"], data["group"]) == ("when", "shop")
    assert set(data["columns"]) == {"key", "no", "a: b # c", "same"}


def test_nothing_is_overwritten_unless_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "shop.v2.csv", "--target", "bought"]
    Path("shop.yaml").write_text("mine", encoding="utf-8")
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error: shop.yaml exists;")
    assert Path("shop.yaml").read_text(encoding="utf-8") == "mine"
    assert main([*words, "--force"]) == 0
    assert Path("shop.yaml").read_text(encoding="utf-8") != "mine"


def test_without_a_target_the_columns_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "shop.v2.csv"]) == 2
    captured = capsys.readouterr()
    assert [line.split("  ")[0] for line in captured.out.splitlines()[2:]] == [
        *("key", "no", "a: b # c", "when", "shop", "same", "bought")
    ]
    assert captured.err == "error: Which of these columns is to be predicted? Say it with `--target COLUMN`.\n"
    assert not Path("shop.yaml").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["shop.v2.csv", "--target", "bougth"], "Did you mean 'bought'?"),
        (["shop.v2.csv", "--target", "bought", "--time", "wen"], "Did you mean 'when'?"),
        (["shop.v2.csv", "--target", "bought", "--out", "none/my.yaml"], "There is no folder none"),
        (["shp.csv", "--target", "bought"], "shp.csv"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert list(folder.glob("*.yaml")) == []


def test_several_targets_make_a_multilabel_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(
        {"x": [i * 0.5 for i in range(60)], "a": [i % 2 for i in range(60)], "b": [i % 3 == 0 for i in range(60)]}
    ).write_parquet("t.parquet")
    assert main(["init", "t.parquet", "--target", "a", "--target", "b"]) == 0
    data = yaml.safe_load(Path("t.yaml").read_text(encoding="utf-8"))["data"]
    assert (data["target"], data["task"]) == (["a", "b"], "multilabel")


def test_the_defaults_in_the_comments_are_the_defaults_in_the_code() -> None:
    lines = [line.removeprefix("# ") for line in DEFAULTS.splitlines()[1:]]
    written: dict[str, dict[str, Any]] = yaml.safe_load("\n".join(lines))
    records = {
        "features": FeaturesConfig(),
        "model": TransformerConfig(),
        "training": TrainingConfig(),
        "tracking": TrackingConfig(),
    }
    for group, record in records.items():
        assert written[group] == {key: getattr(record, key) for key in written[group]}
    trainer = inspect.signature(L.Trainer).parameters
    assert written["trainer"] == {key: trainer[key].default for key in written["trainer"]}
    assert list(written) == ["features", "model", "training", "trainer", "tracking"]


@pytest.mark.parametrize("preset", ["fast", "best"])
def test_a_preset_s_values_are_in_the_config_and_in_force(folder: Path, preset: str) -> None:
    assert main(["init", "shop.v2.csv", "--target", "bought", "--preset", preset]) == 0
    written = yaml.safe_load((folder / "shop.yaml").read_text(encoding="utf-8"))
    values = preset_values(preset)
    assert {group: written[group] for group in values} == values
    config = parse_config(["--config", "shop.yaml"])
    assert all(config.values[group][key] == value for group, keys in values.items() for key, value in keys.items())
    text = (folder / "shop.yaml").read_text(encoding="utf-8")
    for keys in values.values():
        assert all(len(re.findall(rf"^#? *{key}:", text, re.MULTILINE)) == 1 for key in keys)  # no default beside it


def test_the_default_preset_sets_nothing(folder: Path) -> None:
    assert main(["init", "shop.v2.csv", "--target", "bought", "--out", "plain.yaml"]) == 0
    assert main(["init", "shop.v2.csv", "--target", "bought", "--out", "named.yaml", "--preset", "default"]) == 0
    plain, named = ((folder / f"{name}.yaml").read_text(encoding="utf-8") for name in ("plain", "named"))
    assert plain.replace("plain.yaml", "named.yaml") == named
    assert preset_values("default") == {}


@given(st.text(st.characters(codec="utf-8"), max_size=20))
@example("\n")
@example("\x85")
def test_any_column_name_survives_yaml(name: str) -> None:
    assert yaml.safe_load(f"{_scalar(name)}: numeric    # why") == {name: "numeric"}


@pytest.mark.parametrize("name", ["1e5", "1.0", "1_000", "yes", "null", "inf", "0x1f", "2024-01-01", "a.b", "=", "~"])
def test_names_that_could_be_values_survive_the_config_s_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"x": [i * 0.5 for i in range(100)], f"{name}2": [0.5 * i for i in range(100)]}).with_columns(
        pl.Series(name, [i % 2 for i in range(100)])
    ).write_parquet("table of one.parquet")
    for target in (name, f"{name}2"):
        assert main(["init", "table of one.parquet", "--target", target, "--force"]) == 0
        data = parse_config(["--config", "table of one.yaml"]).data
        assert data.target == target
        assert set(data.columns) == {"x", name, f"{name}2"} - {target}


def test_a_folder_in_the_place_of_the_config_is_refused_before_the_table_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shop.yaml").mkdir()
    for words in ([], ["--force"]):
        assert main(["init", "shop.v2.csv", "--target", "bought", *words]) == 2
        captured = capsys.readouterr()
        assert captured.err == (
            "error: 'shop.yaml' is a folder, which no file replaces; name a file, for example one in it.\n"
        )
        assert captured.out == ""


class TestRead:
    """`--read`: what a config says in `data.read` can be said before there is a config."""

    def test_what_is_said_is_used_and_written_down(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        rows = "".join(f"{'-' if i % 9 == 0 else i * 0.5}|{['jä', 'nein'][i % 2]}\n" for i in range(100))
        (tmp_path / "t.csv").write_bytes(f"Umsätze\nzahl|größe\n{rows}".encode("latin-1"))
        said = [*("--read", "encoding=latin-1"), *("--read", "skip_rows=1"), *("--read", "null_values=['-']")]
        assert main(["init", "t.csv", "--target", "größe", *said]) == 0
        data = parse_config(["--config", "t.yaml"]).data
        read = data.read
        assert (read.encoding, read.skip_rows, read.null_values, read.separator) == ("latin-1", 1, ["-"], "|")
        schema = load_table(data).schema
        assert (schema["zahl"].kind.value, schema.task.classes) == ("numeric", ("jä", "nein"))

    def test_it_holds_for_the_list_of_columns_too(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["init", "shop.v2.csv", "--read", "header=false"]) == 2
        assert "column_1" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            ("encodng=latin-1", "there is no `data.read.encodng`. Did you mean 'encoding'?"),
            ("header=maybe", "say it as `--read 'header=true'`"),
            ("header", "say it as `--read 'header=true'`"),
            ("encoding", "say it as `--read 'encoding=…'`"),
            ("skip_rows=two", "say it as `--read 'skip_rows=2'`"),
            ("null_values=a", "say it as `--read 'null_values=[a, b]'`"),
            ("null_values=[a", "say it as `--read 'null_values=[a, b]'`"),
            ("dtypes=x", "say it as `--read 'dtypes={a: String}'`"),
            ("encoding=klingon", "`data.read.encoding` is 'klingon', which Python does not know"),
        ],
    )
    def test_mistakes(self, folder: Path, capsys: pytest.CaptureFixture[str], said: str, sentence: str) -> None:
        assert main(["init", "shop.v2.csv", "--target", "bought", "--read", said]) == 2
        assert sentence in capsys.readouterr().err
        assert not (folder / "shop.yaml").exists()
