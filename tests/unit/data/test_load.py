"""From a `DataConfig` to three frames: which rows come from which file, and what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.data.config import DataConfig
from mlpipe.data.load import Table, load_table, read_source
from mlpipe.data.options import ReadOptions
from mlpipe.data.split import SplitConfig
from mlpipe.errors import ConfigError, DataError
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import Role, TaskKind


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": [f"k{seed}-{i}" for i in range(rows)],
            "x": random.normal(size=rows),
            "color": random.choice(["red", "blue"], rows),
            "n": random.integers(0, 9, rows),
            "y": random.choice(["no", "yes"], rows),
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with train.csv, validation.csv and test.csv."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, rows) in enumerate((("train", 200), ("validation", 60), ("test", 50))):
        table(rows, seed).write_csv(f"{name}.csv")
    return tmp_path


def load(**values: Any) -> Table:
    return load_table(DataConfig(**{"target": "y", **values}))


def ids(table: Table, part: str) -> list[str]:
    return table.frames[part]["id"].to_list()


def test_one_file_is_split_and_every_row_comes_once(folder: Path) -> None:
    loaded = load(path="train.csv")
    assert {part: len(frame) for part, frame in loaded.frames.items()} == {"train": 140, "validation": 30, "test": 30}
    assert sorted(ids(loaded, "train") + ids(loaded, "validation") + ids(loaded, "test")) == sorted(
        pl.read_csv("train.csv")["id"]
    )
    assert [record["part"] for record in loaded.balance] == ["train", "validation", "test"]
    assert loaded.files == (Path("train.csv"),)


def test_files_of_their_own_are_taken_as_they_are(folder: Path) -> None:
    loaded = load(train="train.csv", validation="validation.csv", test="test.csv")
    for part in ("train", "validation", "test"):
        assert ids(loaded, part) == pl.read_csv(f"{part}.csv")["id"].to_list()
    assert [path.name for path in loaded.files] == ["train.csv", "validation.csv", "test.csv"]


@pytest.mark.parametrize(("given", "drawn"), [("validation", "test"), ("test", "validation")])
def test_a_part_without_a_file_is_drawn_from_the_training_rows(folder: Path, given: str, drawn: str) -> None:
    loaded = load(train="train.csv", **{given: f"{given}.csv"})
    assert ids(loaded, given) == pl.read_csv(f"{given}.csv")["id"].to_list()
    assert len(loaded.frames[drawn]) == 30
    assert len(loaded.frames["train"]) == 170
    assert all(name.startswith("k0-") for name in ids(loaded, drawn))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_column_that_a_later_file_lacks_is_named_with_the_closest_one(folder: Path, part: str) -> None:
    table(50).rename({"color": "colour"}).write_csv("other.csv")
    with pytest.raises(DataError, match=r"^other\.csv: there is no column 'color', .* Did you mean 'colour'\?$"):
        load(train="train.csv", **{part: "other.csv"})


def test_a_later_file_needs_no_identifiers(folder: Path) -> None:
    table(50).drop("id").write_csv("other.csv")
    loaded = load(train="train.csv", test="other.csv")
    assert loaded.schema["id"].role is Role.IDENTIFIER
    assert loaded.frames["test"].columns == loaded.frames["train"].columns
    assert loaded.frames["test"]["id"].null_count() == 50


def test_a_later_file_may_have_other_columns_in_another_order(folder: Path) -> None:
    table(50).select("y", "n", pl.lit(1).alias("new"), "color", "x", "id").write_csv("other.csv")
    loaded = load(train="train.csv", test="other.csv")
    assert loaded.frames["test"].columns == ["id", "x", "color", "n", "y"]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_class_that_only_a_later_file_has_is_named_with_the_file(folder: Path, part: str) -> None:
    labels = pl.when(pl.int_range(50) < 3).then(pl.lit("yess")).otherwise("y")
    table(50).with_columns(y=labels).write_csv("other.csv")
    sentence = r"^other\.csv: label 'yess' in the target column 'y' .* \(3 rows .*\)\. Did you mean 'yes'\?$"
    with pytest.raises(DataError, match=sentence):
        load(train="train.csv", **{part: "other.csv"})


def test_without_validation_rows_it_says_what_to_do(folder: Path) -> None:
    with pytest.raises(DataError, match=r"^train\.csv: no rows are left for validation; .*`data\.split\.validation`"):
        load(path="train.csv", split=SplitConfig(validation=0.0))


def test_a_later_file_without_any_target_is_refused(folder: Path) -> None:
    table(50).with_columns(y=pl.lit(None)).write_csv("other.csv")
    with pytest.raises(DataError, match=r"^other\.csv: none of its 50 rows has a target\.$"):
        load(train="train.csv", validation="other.csv")


def test_no_test_rows_are_needed(folder: Path) -> None:
    loaded = load(path="train.csv", split=SplitConfig(test=0.0))
    assert loaded.frames["test"].is_empty()
    assert loaded.frames["test"].columns == loaded.frames["train"].columns


def test_rows_without_a_target_are_counted_by_file(folder: Path) -> None:
    for name, every in (("train", 10), ("test", 50)):
        frame = pl.read_csv(f"{name}.csv")
        frame.with_columns(y=pl.when(pl.int_range(len(frame)) % every != 0).then("y")).write_csv(f"{name}.csv")
    loaded = load(train="train.csv", test="test.csv")
    assert loaded.warnings[:2] == (
        "train.csv: 20 rows have no target and are left out.",
        "test.csv: 1 row has no target and is left out.",
    )
    assert sum(len(loaded.frames[part]) for part in ("train", "validation")) == 180
    assert len(loaded.frames["test"]) == 49
    assert all(frame["y"].null_count() == 0 for frame in loaded.frames.values())


def test_labels_are_renamed_in_every_file(folder: Path) -> None:
    table(50, 2).with_columns(pl.col("y") + ".").write_csv("dotted.csv")
    with pytest.raises(DataError, match=r"label .(no|yes)\."):
        load(train="train.csv", test="dotted.csv")
    loaded = load(train="train.csv", test="dotted.csv", target_map={"no.": "no", "yes.": "yes"})
    assert loaded.schema.task.classes == ("no", "yes")
    assert loaded.frames["test"]["y"].to_list() == table(50, 2)["y"].to_list()


def test_the_last_column_is_the_training_files_whatever_the_order_of_a_later_one(folder: Path) -> None:
    table(50, 2).select("y", "id", "x", "n", "color").write_csv("other.csv")
    loaded = load(target="last", train="train.csv", test="other.csv", target_map={"no": "never"})
    assert loaded.schema.task.target == ("y",)
    assert loaded.schema.task.classes == ("never", "yes")
    assert set(loaded.frames["test"]["y"]) == {"never", "yes"}


def test_the_first_column_can_be_the_target(folder: Path) -> None:
    table(200).select("x", "n", "color").write_csv("first.csv")
    task = load(target="first", path="first.csv").schema.task
    assert (task.target, task.kind) == (("x",), TaskKind.REGRESSION)


def test_what_was_detected_of_the_first_file_is_said_of_the_later_ones(folder: Path) -> None:
    table(200).write_csv("train.csv", separator=";")
    table(50, 1).write_csv("test.csv", separator=";")
    loaded = load(train="train.csv", test="test.csv")
    assert (loaded.read.format, loaded.read.separator, loaded.read.header) == ("csv", ";", True)
    assert loaded.frames["test"]["x"].to_list() == pytest.approx(table(50, 1)["x"].to_list())


@pytest.mark.parametrize("method", ["write_parquet", "write_ndjson", "write_ipc"])
@pytest.mark.parametrize("said", [None, "csv"])
def test_a_later_file_may_be_of_another_format(folder: Path, method: str, said: str | None) -> None:
    """Also where the config of `mlpipe init` says the training file's."""
    getattr(table(50, 2), method)("test.other")
    loaded = load(train="train.csv", test="test.other", read=ReadOptions(format=said))
    assert loaded.frames["test"]["x"].to_list() == pytest.approx(table(50, 2)["x"].to_list())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"x": [[1.5]] * 50}, r"test.parquet: Column 'x' holds List\(Float64\) values"),
        ({"x": [dt.date(2020, 1, 1)] * 50}, "test.parquet: Column 'x' is a number in the schema, but Date"),
        ({"color": [dt.timedelta(1)] * 50}, "test.parquet: Column 'color' is categorical in the schema, but Duration"),
    ],
)
def test_a_column_that_is_of_another_kind_in_a_later_file_is_named(
    folder: Path, values: dict[str, Any], sentence: str
) -> None:
    table(50, 2).with_columns(**{name: pl.Series(list_) for name, list_ in values.items()}).write_parquet(
        "test.parquet"
    )
    with pytest.raises(DataError, match=sentence):
        load(train="train.csv", test="test.parquet")


def test_values_of_a_later_file_that_cannot_be_read_are_counted(folder: Path) -> None:
    texts = ["n.n." if i % 25 == 0 else str(i) for i in range(50)]
    table(50, 2).with_columns(x=pl.Series(texts), n=pl.lit("none")).write_csv("test.csv")
    loaded = load(train="train.csv", test="test.csv", read=ReadOptions(null_values=[""]))
    assert loaded.warnings[:2] == (
        "test.csv: 2 values of 'x' could not be read and were taken as missing.",
        "test.csv: 50 values of 'n' could not be read and were taken as missing.",
    )


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_of_which_no_row_counts_is_refused(folder: Path, part: str) -> None:
    for name in ("train", "validation", "test"):
        frame = pl.read_csv(f"{name}.csv")
        weights = [0.0 if name == part else float(i % 2) for i in range(frame.height)]
        frame.with_columns(w=pl.Series(weights)).write_csv(f"{name}.csv")
    with pytest.raises(DataError, match="all weights"):
        load(train="train.csv", validation="validation.csv", test="test.csv", weight="w")


def test_warnings_of_the_guards_pass_through(folder: Path) -> None:
    frame = table(300).with_columns(y=pl.int_range(300) * 2.0, leak=pl.int_range(300) * 1.0)
    frame.write_csv("leak.csv")
    (sentence,) = load(path="leak.csv").warnings
    assert sentence.startswith("Feature 'leak' alone gives the target 'y' away")


def test_a_file_that_is_not_there_is_named_with_the_closest_one(folder: Path) -> None:
    with pytest.raises(DataError, match=r"tset\.csv\. Did you mean 'test\.csv'\?$"):
        load(train="train.csv", test="tset.csv")


@pytest.mark.parametrize(
    ("read", "separator"),
    [
        (ReadOptions(), "\t"),
        (ReadOptions(format="csv", separator=","), "\t"),  # what the config of `mlpipe init` says
        (ReadOptions(separator=","), ","),  # for files of all formats
    ],
)
def test_a_later_tsv_has_tabs_unless_the_config_says_otherwise(folder: Path, read: ReadOptions, separator: str) -> None:
    table(50, 2).write_csv("test.tsv", separator=separator)
    loaded = load(train="train.csv", test="test.tsv", read=read)
    assert loaded.frames["test"]["x"].to_list() == pytest.approx(table(50, 2)["x"].to_list())
    again = load(train="train.csv", test="test.tsv", read=loaded.read)  # as a run's config says it
    assert again.frames["test"].equals(loaded.frames["test"])


def test_a_later_csv_of_a_tsv_is_looked_at_anew(folder: Path) -> None:
    table(200).write_csv("train.tsv", separator="\t")
    assert load(train="train.tsv", test="test.csv").frames["test"].height == 50


def test_the_way_to_arrays_asks_a_wide_table_for_its_columns_no_more_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Polars puts together anew from all columns each time it is asked must not be asked for by each of them."""
    asked = {"columns": 0, "schema": 0}

    def counted(name: str) -> property:
        asks = getattr(pl.DataFrame, name).fget

        def get(frame: pl.DataFrame) -> Any:
            asked[name] += frame.width > 25  # the table, and not what was counted of one column
            return asks(frame)

        return property(get)

    found = []
    for width in (10, 50):
        numbers = {f"x{i}": [float(row * i % 7) for row in range(200)] for i in range(width)}
        words = {f"c{i}": [f"w{(row + i) % 5}" for row in range(200)] for i in range(width)}
        times = {f"t{i}": [dt.date(2024, 1 + i % 12, 1 + row % 28) for row in range(200)] for i in range(width)}
        table(200).hstack(pl.DataFrame(numbers | words | times)).write_csv("wide.csv")
        kinds = dict.fromkeys(numbers, "numeric") | dict.fromkeys(words, "categorical")
        asked.update(columns=0, schema=0)
        with monkeypatch.context() as patch:
            patch.setattr(pl.DataFrame, "columns", counted("columns"))
            patch.setattr(pl.DataFrame, "schema", counted("schema"))
            loaded = load(train="wide.csv", test="wide.csv", columns=kinds)
            features = FeaturesConfig(high_cardinality="target", high_cardinality_threshold=2)
            preprocessor = Preprocessor(loaded.schema, features)
            arrays = preprocessor.fit_arrays(loaded.frames["train"])
            preprocessor.transform(loaded.frames["test"], with_target=True)
        assert arrays.numeric.shape[1] > 3 * width
        found.append(dict(asked))
    assert all(found[1][name] - found[0][name] < 50 - 10 for name in asked), found


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "either `data.path` .* or `data.train`"),
        ({"path": "a", "train": "b"}, "either `data.path` .* or `data.train`"),
        ({"path": "a", "test": "b"}, "`data.test` go with `data.train`"),
        ({"path": "a", "batch_size": 0}, "`data.batch_size` is 0; it has to be at least 1"),
        ({"path": "a", "eval_batch_size": -1}, "`data.eval_batch_size` is -1"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        DataConfig(target="y", **values)


class TestFolds:
    def source(self, **values: Any) -> Any:
        return read_source(DataConfig(**{"target": "y", **values}))

    def test_rows_are_numbered_as_in_the_file(self, folder: Path) -> None:
        frame = pl.read_csv("train.csv")
        frame.with_columns(y=pl.when(pl.int_range(pl.len()) % 3 > 0).then("y")).write_csv("gaps.csv")
        source = self.source(path="gaps.csv")
        assert source.numbers.tolist() == [i for i in range(200) if i % 3 > 0]
        assert source.frame["id"].to_list() == [f"k0-{i}" for i in source.numbers]
        assert source.frame.columns == frame.columns

    def test_the_held_out_fold_is_the_test_and_the_test_file_stays_aside(self, folder: Path) -> None:
        source = self.source(train="train.csv", test="test.csv")
        split = SplitConfig(folds=4, fold=1, validation=0.2)
        table = source.split(split)
        assert {part: frame.height for part, frame in table.frames.items()} == {
            "train": 120,
            "validation": 30,
            "test": 50,
        }
        assert set(ids(table, "test")) <= set(source.frame["id"])
        assert source.set_aside(split)["id"].to_list() == pl.read_csv("test.csv")["id"].to_list()
        assert ids(load(train="train.csv", test="test.csv", split=split), "test") == ids(table, "test")

    def test_a_validation_file_serves_every_fold(self, folder: Path) -> None:
        source = self.source(train="train.csv", validation="validation.csv")
        for fold in range(4):
            table = source.split(SplitConfig(folds=4, fold=fold), guarded=False)
            assert ids(table, "validation") == pl.read_csv("validation.csv")["id"].to_list()
            assert len(table.frames["train"]) + len(table.frames["test"]) == 200
        assert source.set_aside(SplitConfig(folds=4)).is_empty()

    def test_what_a_column_gives_to_the_test_stays_aside(self, folder: Path) -> None:
        part = pl.when(pl.int_range(pl.len()) < 150).then(pl.lit("train")).otherwise(pl.lit("test"))
        pl.read_csv("train.csv").with_columns(part=part).write_csv("parts.csv")
        source = self.source(path="parts.csv", split=SplitConfig(column="part"))
        split = SplitConfig(column="part", folds=3)
        assert source.set_aside(split)["id"].to_list() == [f"k0-{i}" for i in range(150, 200)]
        assert sum(source.split(split).frames[part].height for part in ("train", "validation", "test")) == 150

    def test_no_rows_for_validation_is_refused(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"^train\.csv: no rows are left for validation"):
            self.source(path="train.csv").split(SplitConfig(folds=3, validation=0.0))
