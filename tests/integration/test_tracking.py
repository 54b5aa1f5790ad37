"""Against a real MLflow store: an SQLite database, made once."""

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from mlflow.tracking import MlflowClient
from torch.utils.data import DataLoader

from mlpipe.errors import ConfigError
from mlpipe.stores import default_uri
from mlpipe.training.annotate import annotate_run
from mlpipe.training.csvlog import MetricsCSV, read_metrics
from mlpipe.training.rundir import RunDirectory
from mlpipe.training.tracking import MlflowTracker, TrackingConfig

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


class Line(LightningModule):
    """A line through the origin, fitted to another."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1, bias=False)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = (self.net(batch) - 3 * batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(loggers: list[Logger], epochs: int = 2) -> Line:
    torch.manual_seed(0)
    module = Line()
    rows: Any = torch.ones(4, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        Trainer(
            max_epochs=epochs,
            logger=loggers,
            log_every_n_steps=1,
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, DataLoader(rows, batch_size=2))
    return module


def run_id(tracker: MlflowTracker) -> str:
    assert tracker.version is not None
    return tracker.version


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "my runs"


@pytest.fixture
def run(root: Path) -> RunDirectory:
    return RunDirectory.create(root, "line")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_all_there(root: Path, run: RunDirectory, elsewhere: Path) -> None:
    run.config.write_text("seed_everything: 1\n")
    run.bundle.mkdir()
    (run.bundle / "model_card.md").write_text("# A line")
    (run.plots / "loss.png").write_bytes(b"png")
    tracker = MlflowTracker(TrackingConfig(experiment="a/line", tags={"team": "blue"}), run, root)
    tracker.log_hyperparams(
        {
            "model": {"width": 64, "rope": None, "on": True, "_instantiator": "x"},
            "data": {"path": "https://me:secret@host/t.csv", "long": "v" * 300, "target": ["a", "b"]},
        }
    )
    fit([MetricsCSV(run.metrics_csv), tracker])
    tracker.log_artifacts(run)

    client = MlflowClient(default_uri(root))
    found = client.get_run(run_id(tracker))
    assert client.get_experiment(found.info.experiment_id).name == "a/line"
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.path.name
    assert found.data.tags["mlpipe.run_directory"] == str(run.path)
    assert found.data.tags["team"] == "blue"
    assert found.data.tags["mlflow.note.content"] == "# A line"
    assert found.data.params == {
        "model.width": "64",
        "model.rope": "null",
        "model.on": "true",
        "data.path": "https://***@host/t.csv",
        "data.long": "v" * 300,
        "data.target": '["a", "b"]',
    }
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [metric.step for metric in history] == [0, 1, 2, 3]
    logged = [float(row["train/loss"]) for row in read_metrics(run.metrics_csv)]
    assert [metric.value for metric in history] == pytest.approx(logged)
    copied = {path.name for path in (root / "mlartifacts").rglob("*") if path.is_file()}
    assert copied == {"config.yaml", "metrics.csv", "model_card.md", "loss.png"}
    assert not list(elsewhere.iterdir())


def test_every_column_is_logged_whatever_it_is_called(root: Path, run: RunDirectory) -> None:
    columns = ["cost", "cost/", "a//b", "../x", "long " * 100, "long " * 101]
    tracker = MlflowTracker(TrackingConfig(experiment="line"), run, root)
    tracker.log_hyperparams({"data": {"columns": {name: f"kind of {name}" for name in columns}}})
    tracker.log_metrics({"loss": 2.0}, step=1)
    tracker.close()
    found = MlflowClient(default_uri(root)).get_run(run_id(tracker))
    assert set(found.data.params.values()) == {f"kind of {name}" for name in columns}
    assert found.info.status == "FINISHED"


def test_a_refused_parameter_keeps_nothing_else_from_being_sent(
    root: Path, run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    run.config.write_text("seed_everything: 1\n")
    tracker = MlflowTracker(TrackingConfig(experiment="line"), run, root)
    # More than MLflow takes at once; and a sign that it does not take, in a name that never went through `_key`.
    tracker._params.extend([("never?", "1"), *((f"p{index}", "1") for index in range(150))])
    with caplog.at_level(logging.WARNING):
        tracker.log_metrics({"loss": 2.0}, step=1)
        tracker.log_artifacts(run)
        tracker.close()
    client = MlflowClient(default_uri(root))
    found = client.get_run(run_id(tracker))
    assert len(found.data.params) == 150
    assert found.data.metrics == {"loss": 2.0}
    assert found.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id(tracker))] == ["config.yaml"]
    (record,) = caplog.records
    assert record.getMessage().startswith("MLflow refuses the parameter 'never?', which is left out: ")


def test_a_resumed_run_is_the_same_run_even_if_a_parameter_has_changed(root: Path, run: RunDirectory) -> None:
    config = TrackingConfig(experiment="line")
    first = MlflowTracker(config, run, root)
    first.log_hyperparams({"max_epochs": 1, "lr": 0.1})
    first.log_metrics({"loss": 2.0}, step=1)
    first.finalize("failed")
    client = MlflowClient(default_uri(root))
    assert client.get_run(run_id(first)).info.status == "FAILED"

    second = MlflowTracker(config, run, root, resume=True)
    second.log_hyperparams({"max_epochs": 2, "lr": 0.1})
    second.log_metrics({"loss": 1.0}, step=2)
    second.close()

    assert second.version == first.version
    found = client.get_run(run_id(first))
    assert found.data.params == {"max_epochs": "1", "lr": "0.1"}
    assert found.data.tags["changed.max_epochs"] == "2"
    assert found.info.status == "FINISHED"
    assert [m.value for m in client.get_metric_history(run_id(first), "loss")] == [2.0, 1.0]


def test_without_resume_or_with_a_deleted_run_there_is_a_new_one(root: Path, run: RunDirectory) -> None:
    config = TrackingConfig(experiment="line")
    trackers = [MlflowTracker(config, run, root)]
    trackers[0].finalize()
    trackers.append(MlflowTracker(config, run, root))
    trackers[1].finalize()
    MlflowClient(default_uri(root)).delete_run(run_id(trackers[1]))
    trackers.append(MlflowTracker(config, run, root, resume=True))
    trackers[2].finalize()
    assert len({tracker.version for tracker in trackers}) == 3
    assert json.loads(run.tracking.read_text())["run_id"] == trackers[2].version


def test_a_run_is_shown_below_its_parent(root: Path, run: RunDirectory, caplog: pytest.LogCaptureFixture) -> None:
    config = TrackingConfig(experiment="line", tags={"team": "blue"})
    parent = MlflowTracker(config, RunDirectory.create(root, "line"), root)
    parent.log_hyperparams({"folds": 3})
    child = MlflowTracker(config, run, root, parent=parent)  # at once: the parent may still be on its way
    child.close()
    parent.close()
    tags = MlflowClient(default_uri(root)).get_run(run_id(child)).data.tags
    assert tags["mlflow.parentRunId"] == run_id(parent)
    assert tags["team"] == "blue"
    gone = MlflowTracker(TrackingConfig(uri="http://127.0.0.1:9"), RunDirectory.create(root, "line"), root)
    gone.close()
    orphan = MlflowTracker(config, RunDirectory.create(root, "line"), root, parent=gone)
    orphan.close()
    assert "mlflow.parentRunId" not in MlflowClient(default_uri(root)).get_run(run_id(orphan)).data.tags


def test_an_interrupted_run_was_killed(root: Path, run: RunDirectory) -> None:
    tracker = MlflowTracker(TrackingConfig(experiment="line"), run, root)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        tracker.finalize("failed")
    assert MlflowClient(default_uri(root)).get_run(run_id(tracker)).info.status == "KILLED"


def test_training_goes_on_without_a_server_after_one_warning(
    root: Path, run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrackingConfig(uri="http://me:secret@127.0.0.1:9", experiment="line")
    tracker = MlflowTracker(config, run, root)
    with caplog.at_level(logging.WARNING):
        module = fit([tracker], epochs=10)
        tracker.log_artifacts(run)
        tracker.close()
    assert module.net.weight.item() == pytest.approx(3, abs=0.1)
    (record,) = caplog.records
    assert "http://***@127.0.0.1:9 could not" in record.getMessage()
    assert "secret" not in record.getMessage()
    assert not run.tracking.exists()


def test_a_damaged_database_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunDirectory.create(tmp_path, "line")
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, and never was one" * 100)
    tracker = MlflowTracker(TrackingConfig(), run, tmp_path)
    with caplog.at_level(logging.WARNING):
        tracker.log_metrics({"loss": 2.0}, step=1)
        tracker.finalize()
        tracker.close()
    assert len(caplog.records) == 1
    assert "file is not a database" in caplog.text
    assert tracker.version is None


def test_what_could_not_be_sent_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunDirectory.create(tmp_path, "line")
    in_the_way = tmp_path / "store"
    in_the_way.write_text("a file where a folder has to be")
    tracker = MlflowTracker(TrackingConfig(uri=default_uri(in_the_way)), run, tmp_path)
    with caplog.at_level(logging.WARNING):
        tracker.log_metrics({"loss": 2.0}, step=1)
        tracker.finalize()
        tracker.log_metrics({"loss": 1.0}, step=2)
        tracker.finalize()
    assert len(caplog.records) == 1

    in_the_way.unlink()
    tracker.close()
    client = MlflowClient(tracker.uri)
    assert [m.value for m in client.get_metric_history(run_id(tracker), "loss")] == [2.0, 1.0]
    assert client.get_run(run_id(tracker)).info.status == "FINISHED"


def test_what_was_measured_later_goes_to_the_run_and_leaves_its_status(
    root: Path, run: RunDirectory, tmp_path: Path
) -> None:
    config = TrackingConfig(experiment="line")
    tracker = MlflowTracker(config, run, root)
    tracker.close("KILLED")
    (tmp_path / "table.md").write_text("| 1 |")
    assert annotate_run(run, config, {"baselines/linear/rmse": 2.0}, [tmp_path / "table.md"])
    client = MlflowClient(default_uri(root))
    found = client.get_run(run_id(tracker))
    assert found.data.metrics == {"baselines/linear/rmse": 2.0}
    assert found.info.status == "KILLED"
    assert [file.path for file in client.list_artifacts(run_id(tracker))] == ["table.md"]


def test_results_of_a_run_without_a_record_go_nowhere(root: Path, run: RunDirectory) -> None:
    assert not annotate_run(run, TrackingConfig(), {"loss": 1.0})
    MlflowTracker(TrackingConfig(experiment="line"), run, root).close()
    assert not annotate_run(run, TrackingConfig(enabled=False), {"loss": 1.0})


def test_a_server_that_is_gone_takes_no_results_with_one_warning(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    run.tracking.write_text(json.dumps({"uri": "http://***@127.0.0.1:9", "run_id": "abc", "experiment_id": "1"}))
    with caplog.at_level(logging.WARNING):
        assert not annotate_run(run, TrackingConfig(uri="http://me:secret@127.0.0.1:9"), {"loss": 1.0})
    (record,) = caplog.records
    assert "MLflow at http://***@127.0.0.1:9 could not take the results" in record.getMessage()
    assert "secret" not in record.getMessage()


@pytest.mark.slow
def test_runs_that_start_together_share_a_new_store(tmp_path: Path) -> None:
    code = """
import sys
from mlpipe.training.mlflow_run import MlflowRun
from mlpipe.training.rundir import RunDirectory
root, uri = sys.argv[1:]
MlflowRun.open(uri, "line", RunDirectory.create(root)).log_metrics([("loss", 1.0, 0, 0)])
"""
    command = [sys.executable, "-c", code, str(tmp_path), default_uri(tmp_path)]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]


def test_the_environment_names_the_store(root: Path, run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert MlflowTracker(TrackingConfig(), run, root).uri == "http://host"
    assert MlflowTracker(TrackingConfig(uri="http://other"), run, root).uri == "http://other"


def test_mlflows_own_experiment_is_refused(root: Path, run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=r"`tracking\.experiment` cannot be 'Default'"):
        MlflowTracker(TrackingConfig(experiment="Default"), run, root)


def test_mlflow_is_not_imported_before_it_is_used() -> None:
    code = "import sys, mlpipe.training.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
