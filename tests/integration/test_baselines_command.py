"""`mlpipe baselines` on one small table: ours trained by it, then taken from the run that it left."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from mlflow.tracking import MlflowClient

from mlpipe.cli import main
from mlpipe.commands import baselines as command
from mlpipe.research.baselines import BaselineResult
from mlpipe.stores import default_uri
from mlpipe.training.rundir import RunDirectory

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

CONFIG = """\
data: {path: table.csv, target: dear}
model: {width: 16, num_heads: 2, num_layers: 1, readout_tokens: 2}
trainer: {max_epochs: 2, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command has trained a run and compared it with two baselines."""
    folder = tmp_path_factory.mktemp("baselines")
    rng = np.random.default_rng(0)
    size = rng.normal(size=400)
    dear = np.where(size + 0.2 * rng.normal(size=400) > 0, "yes", "no")
    pl.DataFrame({"size": size, "color": rng.choice(["red", "blue"], 400), "dear": dear}).write_csv(
        folder / "table.csv"
    )
    (folder / "config.yaml").write_text(CONFIG)
    root, ours = logging.getLogger(), logging.getLogger("mlpipe")
    before = root.handlers[:], root.level, ours.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        line = "baselines --config config.yaml --run run --only mlpipe most_frequent linear --out out --quiet"
        assert main(line.split()) == 0
    logging.captureWarnings(False)
    root.handlers[:], root.level, ours.level = before
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def record(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "baselines.json").read_text(encoding="utf-8"))
    return values


def sentence(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*line.split(), "--quiet"]) == 2
    (error,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    return error


def test_ours_stands_among_them_with_the_numbers_of_its_run(folder: Path) -> None:
    found = record(folder / "out")
    assert [model["name"] for model in found["models"]] == ["mlpipe", "most_frequent", "linear"]
    assert found["rows"] == {"train": 280, "validation": 60, "test": 60}
    ours, guess, linear = found["models"]
    trained = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    for part in ("validation", "test"):
        # Of the probabilities before the temperature, which the others do not have.
        expected = {name: value for name, value in trained[part].items() if name != "calibration_error_uncalibrated"}
        assert ours[part] == pytest.approx(expected, rel=1e-4)
    assert ours["train_seconds"] == trained["train_seconds"]
    assert ours["rows_per_second"] > 0
    assert linear["test"]["auroc"] > guess["test"]["auroc"] == 0.5


def test_the_page_ranks_them(folder: Path) -> None:
    page = (folder / "out" / "baselines.md").read_text(encoding="utf-8")
    assert "## test: 60 rows" in page
    assert page.index("| linear") < page.index("| most_frequent")


def test_the_mlflow_run_of_ours_holds_the_comparison(folder: Path) -> None:
    client = MlflowClient(default_uri(folder / "runs"))
    run = client.get_run(json.loads((folder / "run" / "mlflow.json").read_text(encoding="utf-8"))["run_id"])
    assert run.info.status == "FINISHED"
    linear = record(folder / "out")["models"][2]
    assert run.data.metrics["baselines/linear/test/auroc"] == linear["test"]["auroc"]
    assert {"baselines.md", "baselines.json"} <= {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_finished_run_brings_its_config_and_is_not_trained_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_args: object, **_kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(command, "fit", fit)
    assert main(["baselines", "--run", "run", "--only", "linear", "--tracking.enabled", "false", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "test rows: 60" in printed
    assert "Run:     run" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["model", "log_loss", "accuracy", "auroc", "train", "s", "rows/s"] in lines
    assert {line[0] for line in lines if len(line) == 6} >= {"mlpipe", "linear"}


def test_baselines_alone_leave_no_run(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert main(["baselines", "--config", "config.yaml", "--only", "linear", "--log", "json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found["models"]] == ["linear"]
    assert found["run"] is None
    assert sorted(folder.rglob("*")) == before


def test_ctrl_c_keeps_what_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def iterate(*_args: object) -> Iterator[BaselineResult]:
        yield BaselineResult("linear", {"test": {"log_loss": 0.5}}, 1.0, 2.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "iter_baselines", iterate)
    out = tmp_path / "out"
    assert main(f"baselines --config config.yaml --only linear tabm --out {out}".split()) == 130
    assert [model["name"] for model in record(out)["models"]] == ["linear"]
    captured = capsys.readouterr()
    assert "0.5000" in captured.out
    assert "warning: Interrupted: the table holds what was done until then." in captured.err


def test_ctrl_c_while_ours_is_trained_leaves_the_others_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = RunDirectory(folder / "run"), SimpleNamespace(interrupted=True)  # of a `Trained`, all that is asked for
    monkeypatch.setattr(command, "fit", lambda *_args, **_kwargs: left)
    out = tmp_path / "out"
    words = f"baselines --config config.yaml --only mlpipe linear --tracking.enabled false --quiet --out {out}"
    assert main(words.split()) == 130
    assert [model["name"] for model in record(out)["models"]] == ["mlpipe"]


def test_nothing_is_overwritten_unless_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = f"baselines --config config.yaml --only linear --quiet --out {tmp_path}"
    assert main(line.split()) == 0
    assert "baselines.md exists; give another folder with `--out`" in sentence(line, capsys)
    assert main([*line.split(), "--force"]) == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--config config.yaml --only lineer", "There is no baseline 'lineer'. Did you mean 'linear'?"),
        ("--config config.yaml --only mlpip", "There is no baseline 'mlpip'. Did you mean 'mlpipe'?"),
        (
            "--run run --config config.yaml --only linear --data.split.seed 1",
            "run was trained with `data.split.seed: 0`, and here it is 1; `mlpipe baselines --run run` compares",
        ),
        (
            "--run run --config config.yaml --only linear --data.columns.color ignore",
            'run was trained with `data.columns.color: null`, and here it is "ignore"; `mlpipe',
        ),
        ("--run rnu", "There is no run rnu. Did you mean 'run'?"),
        ("--run out --config config.yaml", "out is not empty"),
        ("--config config.yaml --only linear --training.metric rmse", "`training.metric` is 'rmse', which is none of"),
        ("--config config.yaml --only linear --model.widht 3", "Unknown key 'model.widht'."),
    ],
)
def test_mistakes_are_one_sentence(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in sentence(f"baselines {line}", capsys)


def test_rows_that_have_changed_since_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = (folder / "table.csv").read_text()
    try:
        (folder / "table.csv").write_text(table + "1.0,red,yes\n")
        assert "table.csv has changed since run was trained" in sentence("baselines --run run --only linear", capsys)
    finally:
        (folder / "table.csv").write_text(table)


def test_a_run_that_was_not_finished_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "half").mkdir(exist_ok=True)
    (folder / "half" / "config.yaml").write_text(CONFIG)
    expected = "half is no finished run; `mlpipe fit --run half --resume` goes on with it."
    assert expected in sentence("baselines --run half --config config.yaml", capsys)


def test_nothing_left_to_compare_is_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "absent", list)
    expected = "Not installed, and left out: tabm, xgboost; `pip install 'mlpipe[baselines]'` brings them."
    assert expected in sentence("baselines --config config.yaml --only tabm xgboost", capsys)


def test_help_names_the_options_and_where_the_keys_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--only NAME" in printed
    assert "`mlpipe fit --help` lists them" in printed
