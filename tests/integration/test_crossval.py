"""`mlpipe crossval` through the real command line: what it leaves, that it goes on as if uninterrupted, its bundle."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from mlpipe.bundle.ensemble import read_contents
from mlpipe.bundle.folder import verify
from mlpipe.bundle.predictor import Predictor
from mlpipe.cli import main
from mlpipe.estimators import TransformerClassifier
from mlpipe.serving.engine import Served, work
from mlpipe.serving.settings import Checks
from mlpipe.serving.wire import Kind, Question

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROWS = 240
#: Without the rows that have no target.
LABELLED = ROWS - 5
CONFIG = """\
data:
  train: houses.csv
  test: later.csv
  target: dear
  columns: {id: identifier}
  batch_size: 32
model: {width: 8, num_heads: 1, num_layers: 1, readout_tokens: 2}
trainer: {max_epochs: 2, accelerator: cpu}
tracking: {experiment: houses}
seed_everything: 3
"""
INTERRUPT = '''
import os, signal
from lightning.pytorch.callbacks import Callback

class InterruptSecondFit(Callback):
    """Ctrl-C after the third step of the second run of this process."""

    fits = 0

    def on_fit_start(self, trainer, pl_module):
        InterruptSecondFit.fits += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.fits == 2 and trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
'''


def houses(rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    size = random.normal(100, 30, rows).round(1)
    dear = np.where(size + random.normal(0, 9, rows) > 100, "yes", "no")
    return pl.DataFrame(
        {
            "id": [f"house-{i:05}" for i in range(rows)],
            "size": [None if i % 11 == 0 else float(value) for i, value in enumerate(size)],
            "color": random.choice(["red", "blue", "green"], rows),
            "rooms": random.integers(1, 9, rows),
            "dear": [None if seed == 0 and i % 50 == 7 else str(value) for i, value in enumerate(dear)],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the commands, without a tracking server of the developer's."""
    folder = tmp_path_factory.mktemp("crossval")
    houses(ROWS, seed=0).write_csv(folder / "houses.csv")
    houses(60, seed=1).write_csv(folder / "later.csv")
    (folder / "houses.yaml").write_text(CONFIG)
    (folder / "interrupt.py").write_text(INTERRUPT)
    root, ours = logging.getLogger(), logging.getLogger("mlpipe")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder
    sys.modules.pop("interrupt", None)
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def command(line: str, *words: str) -> int:
    """The exit code of a command line, of which further words may have blanks."""
    return main([*line.split(), *words, "--quiet"])


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A cross-validation that nothing has interrupted, tracked and averaged."""
    assert command("crossval --config houses.yaml --folds 3 --run whole --average") == 0
    return folder / "whole"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def without_seconds(metrics: dict[str, Any]) -> dict[str, Any]:
    return {**metrics, "train_seconds": 0}


def test_every_labelled_row_is_held_out_once(folder: Path, whole: Path) -> None:
    out = pl.read_parquet(whole / "out_of_fold.parquet")
    answers = ["prediction", "probability_no", "probability_yes", "confidence"]
    assert out.columns == ["id", "dear", "fold", "repeat", "row", *answers]
    table = pl.read_csv(folder / "houses.csv").with_row_index("row").drop_nulls("dear")
    assert out.height == LABELLED
    assert out["row"].to_list() == table["row"].to_list()
    assert out["id"].to_list() == table["id"].to_list()
    assert out["dear"].to_list() == table["dear"].to_list()
    sizes = out["fold"].value_counts().sort("fold")["count"].to_list()
    assert sizes == [record["rows"] for record in read(whole / "folds.json")["runs"]]
    assert max(sizes) - min(sizes) <= 1


def test_predictions_are_those_of_each_folds_bundle_and_scores_those_of_its_run(whole: Path) -> None:
    out, table = pl.read_parquet(whole / "out_of_fold.parquet"), pl.read_csv("houses.csv")
    for fold in range(3):
        rows = out.filter(pl.col("fold") == fold)
        predicted = Predictor.load(whole / f"fold-{fold}" / "bundle").predict(table[rows["row"].to_numpy()])
        assert_frame_equal(rows.select(predicted.columns), predicted, abs_tol=1e-6)
        accuracy = (rows["prediction"] == rows["dear"]).mean()
        assert read(whole / f"fold-{fold}" / "metrics.json")["test"]["accuracy"] == pytest.approx(accuracy)


def test_metrics_are_the_spread_over_the_folds_and_the_average_on_the_test_file(whole: Path) -> None:
    metrics = read(whole / "metrics.json")
    scores = [read(whole / f"fold-{fold}" / "metrics.json")["test"] for fold in range(3)]
    assert [record["metrics"] for record in metrics["folds"]] == scores
    for name in scores[0]:
        values = [score[name] for score in scores]
        assert metrics["mean"][name] == pytest.approx(np.mean(values))
        assert metrics["std"][name] == pytest.approx(np.std(values, ddof=1))
        assert (metrics["min"][name], metrics["max"][name]) == (min(values), max(values))
    later = pl.read_csv("later.csv")
    right = Predictor.load(whole / "bundle").predict(later)["prediction"] == later["dear"]
    assert metrics["test"]["accuracy"] == pytest.approx(right.mean())


def test_the_average_is_the_mean_of_the_folds_models_however_it_is_asked(whole: Path, tmp_path: Path) -> None:
    later = pl.read_csv("later.csv")
    members = [Predictor.load(whole / f"fold-{fold}" / "bundle").predict(later) for fold in range(3)]
    expected = np.mean([member["probability_yes"].to_numpy().astype(np.float64) for member in members], axis=0)
    assert np.std([member["probability_yes"].to_numpy() for member in members], axis=0).max() > 0.01
    bundle = whole / "bundle"
    out = tmp_path / "scored.parquet"
    assert command(f"predict --bundle {bundle} --data later.csv --out {out}") == 0
    np.testing.assert_allclose(pl.read_parquet(out)["probability_yes"], expected, rtol=0, atol=1e-6)
    estimator = TransformerClassifier.load(bundle)
    np.testing.assert_allclose(estimator.predict_proba(later)[:, 1], expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="loaded from an ensemble"):
        estimator.save(tmp_path / "saved")
    rows = later.drop("id", "dear").write_json().encode()
    worked = work([Question(Kind.PREDICT, rows)], [Served.of(read_contents(bundle), "houses", Checks())])
    answers = json.loads(worked.answers[0].body)
    served = [answer["probabilities"]["yes"] for answer in answers["predictions"]]
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-6)
    assert answers["model_version"] == verify(bundle).version


def test_the_average_compares_new_rows_with_the_training_rows_of_all_folds(
    folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statistics = Predictor.load(whole / "bundle").statistics
    assert json.loads(json.dumps(statistics.to_dict())) == read(whole / "statistics.json")
    members = [Predictor.load(whole / f"fold-{fold}" / "bundle").statistics for fold in range(3)]
    assert max(member.features.rows for member in members) < statistics.features.rows <= LABELLED
    for end, of in ((0, min), (1, max)):
        assert statistics.ranges["size"][end] == of(member.ranges["size"][end] for member in members)
    assert statistics.predictions is not None
    assert statistics.predictions.rows == LABELLED
    answers = statistics.predictions.categorical[0]
    table = pl.read_parquet(whole / "out_of_fold.parquet")
    share = (table["prediction"] == "yes").mean()
    assert dict(zip(answers.names, answers.shares, strict=True))["yes"] == pytest.approx(share, abs=0.05)
    assert command(f"drift --bundle {whole / 'bundle'} --data houses.csv --log json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["training_rows"] == statistics.features.rows
    assert report["above"] == []


def test_a_fold_is_a_run_of_its_own(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(f"test --run {whole / 'fold-1'} --log json") == 0
    printed = json.loads(capsys.readouterr().out)["test"]
    assert printed == pytest.approx(read(whole / "fold-1" / "metrics.json")["test"], abs=1e-5)
    config = yaml.safe_load((whole / "fold-1" / "config.yaml").read_text())
    assert (config["data"]["split"]["folds"], config["data"]["split"]["fold"]) == (3, 1)
    assert config["seed_everything"] == 4
    assert command(f"fit --config {whole / 'fold-1' / 'config.yaml'} --run alone --tracking.enabled false") == 0
    alone = read(Path("alone") / "metrics.json")
    assert without_seconds(alone) == without_seconds(read(whole / "fold-1" / "metrics.json"))


def test_mlflow_has_a_run_for_each_fold_below_one_for_all(whole: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('runs', 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("houses")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"whole", "fold-0", "fold-1", "fold-2"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("whole")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert "mlflow.parentRunId" not in parent.data.tags
    metrics = read(whole / "metrics.json")
    assert parent.data.metrics["mean/accuracy"] == pytest.approx(metrics["mean"]["accuracy"])
    assert parent.data.metrics["test/accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert len(client.get_metric_history(parent.info.run_id, "fold/accuracy")) == 3
    assert parent.data.params["crossval.folds"] == "3"
    copied = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "folds.json", "metrics.json", "bundle"} <= copied


def test_an_interrupted_one_keeps_what_is_finished_and_ends_as_if_nothing_had_happened(
    folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "crossval --config houses.yaml --folds 3 --run stopped --tracking.enabled false"
    assert command(line, "--trainer.callbacks={class_path: interrupt.InterruptSecondFit}") == 130
    assert "mlpipe crossval --run stopped --resume" in capsys.readouterr().out
    stopped = folder / "stopped"
    assert sorted(path.name for path in stopped.glob("fold-*")) == ["fold-0", "fold-1"]
    assert read(stopped / "fold-1" / "metrics.json")["interrupted"] is True
    assert not (stopped / "metrics.json").exists()
    finished = (stopped / "fold-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert command("crossval --config houses.yaml --run stopped --resume --trainer.callbacks=null") == 0
    assert (stopped / "fold-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == finished
    assert "interrupted" not in read(stopped / "fold-1" / "metrics.json")
    ours, theirs = (pl.read_parquet(path / "out_of_fold.parquet") for path in (stopped, whole))
    assert ours.equals(theirs)
    ours, theirs = (read(path / "metrics.json") for path in (stopped, whole))
    assert without_seconds(ours) == without_seconds(theirs)
    assert not (stopped / "bundle").exists()
    assert command("export --run stopped --out exported") == 0
    verify(folder / "exported")

    shutil.rmtree(stopped / "fold-2" / "bundle")  # as if killed between a fold's metrics and its bundle
    capsys.readouterr()
    assert command("crossval --run stopped --resume --bundle elsewhere --log json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["run"], record["bundle"], record["interrupted"]) == ("stopped", "elsewhere", False)
    assert record["metrics"] == ours
    assert verify(folder / "elsewhere").version == verify(folder / "exported").version


def test_help_shows_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("crossval --help") == 0
    shown = capsys.readouterr().out
    assert "--repeats N" in shown
    assert "`mlpipe fit --help` lists them" in shown


def refusal(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a command refuses."""
    capsys.readouterr()
    assert command(line) == 2
    (sentence,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    return sentence.removeprefix("error: ")


def test_a_bundle_is_replaced_if_asked(whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(whole / "bundle", folder / "taken")
    before = verify(folder / "taken").version
    again = "crossval --config houses.yaml --folds 2 --run forced --bundle taken"
    assert command(again) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert command(f"{again} --force --trainer.max_epochs=1") == 0
    assert verify(folder / "taken").version != before


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("crossval --config houses.yaml --run whole", ["whole is not empty", "--resume"]),
        ("crossval --config houses.yaml --run new --bundle whole/bundle", ["whole/bundle", "--force"]),
        ("crossval --config houses.yaml --run new --bundle houses.csv/below", ["houses.csv is a file", "`--bundle`"]),
        ("crossval --config houses.yaml --run new --folds 500", ["235 rows", "500 folds"]),
        ("crossval --config houses.yaml --run new --training.metric auroc2", ["'auroc2'", "'auroc'"]),
        ("crossval --config houses.yaml --run new --training.interval 0.9", ["`training.interval`", "for regression"]),
        ("crossval --config houses.yaml --run new --tracking.experiment Default", ["'Default'"]),
        ("crossval --config houses.yaml --run new --data.time rooms --repeats 2", ["--repeats"]),
        ("crossval --config houses.yaml --run new --data.columns.rooms identifier --model.widht 3", ["'model.width'"]),
        ("crossval --config houses.yaml --run new --trainer.devices 2", ["on one device", "`trainer.devices`"]),
        ("crossval --run whole --resume --folds 4", ["--folds 3", "--folds 4"]),
        ("crossval --run whole --resume --model.width 16", ["whole cannot be resumed with another `model`"]),
        ("crossval --run whole/fold-0 --resume", ["whole/fold-0 is a single run", "mlpipe fit"]),
        ("crossval --config houses.yaml --resume", ["--run DIR"]),
        ("fit --run whole --resume", ["whole is a cross-validation", "mlpipe crossval"]),
        ("validate --run whole", ["whole is a cross-validation", "whole/fold-0"]),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    whole: Path, line: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refusal(line, capsys)
    for part in parts:
        assert part in sentence
    assert not Path("new").exists()


def test_other_data_are_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("houses.csv").read_bytes()
    try:
        Path("houses.csv").write_bytes(before.replace(b"red", b"blue", 1))
        assert "the data are not those that it began with" in refusal("crossval --run whole --resume", capsys)
    finally:
        Path("houses.csv").write_bytes(before)


def test_a_flipped_bit_in_a_member_is_refused_by_name(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "members" / "2" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    for line in (
        f"predict --bundle {tmp_path / 'bundle'} --data later.csv --out {tmp_path / 'out.csv'}",
        f"serve {tmp_path / 'bundle'}",
    ):
        sentence = refusal(line, capsys)
        assert sentence.startswith(f"Bundle '{tmp_path / 'bundle' / 'members' / '2'}': weights.safetensors does not")
