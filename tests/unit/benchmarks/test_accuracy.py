"""`benchmarks/accuracy.py`: it completes what is missing, keeps what is complete, and says what it leaves out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import polars as pl
import pytest
from records import Key, Store
from tables import PublicTable

from mlpipe.research.baselines.run import iter_baselines


def read(path: Path) -> tuple[pl.DataFrame, None]:
    return pl.read_csv(path), None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of two tables."""
    random = np.random.default_rng(0)
    size = random.normal(size=300)
    y = np.where(size + random.normal(size=300) > 0, "yes", "no")
    pl.DataFrame({"size": size, "noise": random.normal(size=300), "y": y}).write_csv(tmp_path / "here.csv")
    tables = {name: PublicTable((f"{name}.csv",), "y", "accuracy", read, 192) for name in ("here", "gone")}
    monkeypatch.setattr(accuracy, "TABLES", tables)
    return tmp_path


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The baselines that were really fitted, in order."""
    names: list[str] = []

    def counting(schema: Any, frames: Any, wanted: list[str], seed: int) -> Any:
        names.extend(wanted)
        return iter_baselines(schema, frames, wanted, seed)

    monkeypatch.setattr(accuracy, "iter_baselines", counting)
    return names


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    results = str(folder / "results")
    monkeypatch.setattr(sys, "argv", ["accuracy.py", "--data", str(folder), "--results", results, *words])
    return accuracy.main()


def test_what_is_there_is_not_measured_twice(
    folder: Path, fitted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, monkeypatch, "--contestants", "linear") == 0
    assert "gone: left out, " in capsys.readouterr().out
    assert run(folder, monkeypatch, "--contestants", "linear", "most_frequent") == 0
    assert fitted == ["linear", "most_frequent"]
    before = Store(folder / "results").records
    assert run(folder, monkeypatch, "--contestants", "linear", "--again") == 0
    assert fitted == ["linear", "most_frequent", "linear"]
    after = Store(folder / "results").records
    assert list(after) == list(before) == [Key("here", name, "", 0) for name in ("linear", "most_frequent")]
    assert after[Key("here", "linear", "", 0)].recipe.startswith("scikit-learn ")
    assert "| here | accuracy |" in (folder / "results" / "accuracy.md").read_text()


def test_unseen_tables_have_results_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = {"new": PublicTable(("here.csv",), "y", "accuracy", read, 192)}
    monkeypatch.setattr(accuracy, "UNSEEN", unseen)
    assert run(folder, monkeypatch, "--unseen", "--contestants", "linear") == 0
    assert list(Store(folder / "results" / "unseen").records) == [Key("new", "linear", "", 0)]
    assert "| new | accuracy |" in (folder / "results" / "unseen.md").read_text()
    assert not (folder / "results" / "accuracy.json").exists()
    with pytest.raises(SystemExit):
        run(folder, monkeypatch, "--unseen", "--tables", "here")
    assert "--tables: here: not among new" in capsys.readouterr().err


def test_ours_is_measured_for_each_seed_and_anew_by_another_recipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--tables", "here", "--contestants", "mlpipe", "--preset", "smoke", "--seeds")
    assert run(folder, monkeypatch, *words, "1") == 0
    store = Store(folder / "results")
    (first,) = store.records.values()
    assert len(first.curve) == first.epochs
    assert first.curve[-1][0] <= first.seconds
    assert run(folder, monkeypatch, *words, "2") == 0
    assert [key.seed for key in store.records] == [0, 1]
    assert store.records[first.key] == first
    monkeypatch.setattr(accuracy, "recipe", lambda preset, outputs, train_rows: "another")
    assert run(folder, monkeypatch, *words, "1") == 0
    assert store.records[first.key].recipe == "another"


def test_ctrl_c_keeps_what_is_complete(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "fit_once", interrupted)
    assert run(folder, monkeypatch, "--contestants", "linear", "mlpipe", "most_frequent") == 130
    assert list(Store(folder / "results").records) == [Key("here", "linear", "", 0)]
    assert "| here | accuracy |" in (folder / "results" / "accuracy.md").read_text()
    assert "goes on with what is missing" in capsys.readouterr().err


def test_a_recipe_is_another_where_a_preset_sets_something_or_the_outputs_or_rows_do() -> None:
    assert accuracy.recipe("default", 1, 9_000) == accuracy.recipe("default", 2, 7_000)
    shapes = [(outputs, rows) for outputs in (1, 26) for rows in (500, 9_000)]
    assert len({accuracy.recipe(preset, *shape) for preset in ("default", "smoke") for shape in shapes}) == 8
    assert accuracy.recipe("cpu", 1, 9_000) != accuracy.recipe("default", 1, 9_000)


def test_what_the_trunk_does_not_look_at_makes_no_other_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_words(words: str, outputs: int) -> str:
        monkeypatch.setattr(accuracy, "words", lambda preset: words.split())
        return accuracy.recipe("default", outputs, 9_000)

    assert with_words("--model.members=4", 1) == with_words("", 1)
    assert with_words("--model.members=4", 26) != with_words("", 26)
    assert with_words("--model.rope=none", 26) == with_words("", 26)
    assert with_words("--model.rope=none", 1) != with_words("", 1)
    assert with_words("--model.head=members --model.members=4", 1) != with_words("--model.head=members", 1)
