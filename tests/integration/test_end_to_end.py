"""One table through the whole command line, from `init` to HTTP: every way to a prediction gives the same one.

Commands run in this process (importing torch and Lightning for each would take most of the time), the server in its
own, as it does for a user.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import BACKENDS
from mlpipe.bundle.parity import TOLERANCES
from mlpipe.bundle.predictor import Predictor
from mlpipe.cli import main
from mlpipe.data.load import load_table
from mlpipe.research import fitting
from mlpipe.training.loop import Trained, train
from mlpipe.training.parser import config_from_file

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROWS = 400
PATIENCE = 120.0  # seconds; machines that run tests are slow
TOLERANCE = 1e-5  # of float32 probabilities, whatever the number of rows that go through the network at once
SMALL = """\
model: {width: 16, num_heads: 2, num_layers: 1, readout_tokens: 2}
trainer: {max_epochs: 2, accelerator: cpu}
tracking: {experiment: houses}
"""


@dataclass(frozen=True)
class Run:
    """What the commands left in a folder.

    Attributes:
        folder: The working directory of the commands: houses.csv, houses.yaml, run/, bundle/, graphs/ (a bundle with
            ONNX graphs), predictions.csv.
        trained: What the training loop returned.
        printed: What the commands printed, by verb.
    """

    folder: Path
    trained: Trained
    printed: dict[str, str]

    @property
    def directory(self) -> Path:
        return self.folder / "run"

    def probabilities(self, part: str) -> np.ndarray[Any, Any]:
        return self.trained.outputs[part][:, 0]


def houses() -> pl.DataFrame:
    """Numbers, categories and dates with nulls; colours that are seen once, so that some parts have unseen ones."""
    random = np.random.default_rng(0)
    size = random.normal(100, 30, ROWS).round(1)
    color = [f"colour {i}" if i % 25 == 0 else str(c) for i, c in enumerate(random.choice(["red", "blue"], ROWS))]
    return pl.DataFrame(
        {
            "id": [f"house-{i:05}" for i in range(ROWS)],
            "size": [None if i % 11 == 0 else float(value) for i, value in enumerate(size)],
            "color": [None if i % 13 == 0 else value for i, value in enumerate(color)],
            "rooms": random.integers(1, 9, ROWS),
            "garden": random.choice([True, False], ROWS),
            "sold": [
                None if i % 17 == 0 else date(2024, 1, 1) + timedelta(days=int(days))
                for i, days in enumerate(random.integers(0, 700, ROWS))
            ],
            "dear": np.where(size + random.normal(0, 5, ROWS) > 100, "yes", "no"),
        }
    )


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """For commands: the working directory, no tracking server of the developer's, and logging as it was afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("mlpipe")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield patch
    finally:
        # The fixture of tests/conftest.py begins after those of the module have run their commands.
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(our_level)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("houses")
    houses().write_csv(folder / "houses.csv")
    (folder / "small.yaml").write_text(SMALL)
    kept: list[Trained] = []

    def keeping(*args: Any, **kwargs: Any) -> Trained:
        kept.append(train(*args, **kwargs))
        return kept[-1]

    printed: dict[str, str] = {}
    with working_in(folder) as patch:
        patch.setattr(fitting, "train", keeping)
        for line in (
            "init houses.csv --target dear",
            "fit --config houses.yaml --config small.yaml --run run --seed_everything 3",
            "validate --run run --log json",
            "test --run run --log json",
            "export --run run --out bundle",
            "export --run run --out graphs --int8",
            "predict --bundle bundle --data houses.csv --out predictions.csv",
        ):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                assert main([*line.split(), "--quiet"]) == 0, line
            printed[line.split()[0]] = output.getvalue()
    (trained,) = kept
    return Run(folder, trained, printed)


@pytest.fixture(scope="module")
def parts(run: Run) -> dict[str, pl.DataFrame]:
    """The rows of each part, by the run's own config."""
    with working_in(run.folder):
        return dict(load_table(config_from_file(run.directory / "config.yaml").data).frames)


@pytest.fixture(scope="module")
def server(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `mlpipe serve graphs --backend onnx`; `test_serving.py` has servers with torch."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "mlpipe", "serve", "graphs", "--backend", "onnx", "--port", str(port)]
    with log.open("wb") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, cwd=run.folder)
    try:
        deadline = time.monotonic() + PATIENCE
        while "Serving bundle" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def post(url: str, payload: Any) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(payload).encode(), headers=headers)
    with opener.open(request, timeout=PATIENCE) as response:
        return json.loads(response.read())


def raw_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as a client would send them: JSON values, dates as text."""
    rows: list[dict[str, Any]] = json.loads(frame.drop("dear", "id").write_json())
    return rows


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(run: Run, line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a command refuses, having changed nothing."""
    before = files(run.folder)
    with working_in(run.folder):
        code = main(line.split())
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert "Traceback" not in captured.err
    (sentence,) = [text for text in captured.err.splitlines() if text.startswith("error: ")]
    after = files(run.folder)
    assert after == before
    return sentence.removeprefix("error: ")


class TestSamePredictions:
    """The yardstick is what the training loop measured; there are rows with nulls and with unseen categories."""

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_of_the_predictor(self, run: Run, parts: dict[str, pl.DataFrame], part: str) -> None:
        predicted = Predictor.load(run.folder / "bundle").predict(parts[part])
        np.testing.assert_allclose(predicted["probability_yes"], run.probabilities(part), rtol=0, atol=TOLERANCE)
        assert np.std(run.probabilities(part)) > 0.01
        assert parts[part]["color"].null_count() > 0
        assert set(parts[part]["color"].drop_nulls()) - set(parts["train"]["color"].drop_nulls())

    def test_of_the_runs_own_bundle(self, run: Run, parts: dict[str, pl.DataFrame]) -> None:
        assert verify(run.directory / "bundle").version == verify(run.folder / "bundle").version
        predicted = Predictor.load(run.directory / "bundle").predict(parts["test"])
        np.testing.assert_allclose(predicted["probability_yes"], run.probabilities("test"), rtol=0, atol=TOLERANCE)

    def test_of_single_rows(self, run: Run, parts: dict[str, pl.DataFrame]) -> None:
        predictor = Predictor.load(run.folder / "bundle")
        single = [predictor.predict(row)["probability_yes"][0] for row in raw_rows(parts["test"])]
        np.testing.assert_allclose(single, run.probabilities("test"), rtol=0, atol=TOLERANCE)

    def test_of_the_predict_command(self, run: Run, parts: dict[str, pl.DataFrame]) -> None:
        scored = pl.read_csv(run.folder / "predictions.csv")
        assert scored["id"].to_list() == houses()["id"].to_list()
        assert scored.columns == ["id", "prediction", "probability_no", "probability_yes", "confidence"]
        for part in ("validation", "test"):
            found = parts[part].select("id").join(scored, on="id", maintain_order="left")
            np.testing.assert_allclose(found["probability_yes"], run.probabilities(part), rtol=0, atol=TOLERANCE)

    def test_over_http(self, run: Run, parts: dict[str, pl.DataFrame], server: str) -> None:
        rows = raw_rows(parts["test"])
        together = [answer["probabilities"]["yes"] for answer in post(server, rows)["predictions"]]
        np.testing.assert_allclose(together, run.probabilities("test"), rtol=0, atol=TOLERANCE)
        single = [post(server, row)["probabilities"]["yes"] for row in rows[:10]]
        np.testing.assert_allclose(single, run.probabilities("test")[:10], rtol=0, atol=TOLERANCE)
        sample = json.loads((run.folder / "graphs" / "sample_request.json").read_text())
        assert post(server, sample)["model_version"] == verify(run.folder / "graphs").version

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_of_the_predict_command_with_every_backend(
        self, run: Run, parts: dict[str, pl.DataFrame], backend: str
    ) -> None:
        with working_in(run.folder):
            out = f"{backend}.parquet"
            line = f"predict --bundle graphs --data houses.csv --out {out} --backend {backend} --quiet"
            assert main(line.split()) == 0
            scored = pl.read_parquet(out)
        found = parts["test"].select("id").join(scored, on="id", maintain_order="left")
        tolerance = TOLERANCES["int8"] if backend == "int8" else TOLERANCE
        np.testing.assert_allclose(found["probability_yes"], run.probabilities("test"), rtol=0, atol=tolerance)


class TestWhatARunLeaves:
    def test_an_export_says_how_near_the_graphs_are(self, run: Run) -> None:
        validation_loss = run.trained.metrics["validation"]["log_loss"]
        first, second, _ = run.printed["export"].splitlines()
        for name, line in (("model.onnx", first), ("model.int8.onnx", second)):
            assert line.startswith(f"{name}: answers differ from torch's by at most ")
            assert line.endswith(f"instead of {validation_loss:.6g}.")
            assert (run.folder / "graphs" / name).is_file()

    def test_everything_is_there(self, run: Run) -> None:
        left = set(files(run.directory))
        expected = "config.yaml env.json schema.json preprocess.json metrics.json metrics.csv calibration.json"
        assert {*expected.split(), "statistics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= left
        assert any(name.startswith("plots/") for name in left)

    def test_init_has_told_identifiers_from_features(self, run: Run) -> None:
        columns = yaml.safe_load((run.folder / "houses.yaml").read_text())["data"]["columns"]
        assert columns == {
            "id": "identifier",
            "size": "numeric",
            "color": "categorical",
            "rooms": "numeric",
            "garden": "boolean",
            "sold": "date",
        }

    @pytest.mark.parametrize(("verb", "part"), [("validate", "validation"), ("test", "test")])
    def test_evaluation_prints_what_training_measured(self, run: Run, verb: str, part: str) -> None:
        stored = json.loads((run.directory / "metrics.json").read_text())
        printed = json.loads(run.printed[verb].splitlines()[-1])
        assert stored.keys() == {"validation", "test", "train_seconds"}
        assert printed[part] == pytest.approx(stored[part], abs=1e-5)
        assert stored[part] == run.trained.metrics[part]

    def test_a_labelled_file_can_be_scored(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        with working_in(run.folder):
            pl.read_csv("houses.csv").sample(50, seed=1).drop("id").write_csv("labelled.csv")
            assert main(["test", "--run", "run", "--data", "labelled.csv", "--log", "json", "--quiet"]) == 0
        metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["labelled.csv"]
        assert metrics.keys() == run.trained.metrics["test"].keys()

    def test_fit_prints_metrics_and_where_things_are(self, run: Run) -> None:
        accuracy = run.trained.metrics["test"]["accuracy"]
        assert f"{accuracy:.4f}" in run.printed["fit"]
        assert "mlpipe serve run/bundle" in run.printed["fit"]

    def test_the_same_config_gives_the_same_run(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        with working_in(run.folder):
            line = "fit --config run/config.yaml --run again --tracking.enabled false --quiet"
            assert main(line.split()) == 0
        first, second = (json.loads((run.folder / name / "metrics.json").read_text()) for name in ("run", "again"))
        assert {**first, "train_seconds": 0} == {**second, "train_seconds": 0}

    def test_mlflow_holds_parameters_metrics_and_artifacts(self, run: Run) -> None:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{run.folder / 'runs' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("houses")
        assert experiment is not None
        (tracked,) = client.search_runs([experiment.experiment_id])
        assert tracked.info.status == "FINISHED"
        assert tracked.data.tags["mlpipe.run_directory"] == str(run.directory.resolve())
        assert tracked.data.params["model.width"] == "16"
        assert tracked.data.params["seed_everything"] == "3"
        for name, value in run.trained.metrics["test"].items():
            assert tracked.data.metrics[f"test/{name}"] == pytest.approx(value)
        assert len(client.get_metric_history(tracked.info.run_id, "val/log_loss")) == 2
        copied = {item.path for item in client.list_artifacts(tracked.info.run_id)}
        assert {"config.yaml", "metrics.json", "schema.json", "bundle", "plots"} <= copied


class TestMistakes:
    """Exit code 2, one sentence, and nothing written or changed."""

    FIT = "fit --config houses.yaml --config small.yaml --tracking.enabled false --quiet"

    @pytest.fixture(autouse=True)
    def picture(self, run: Run) -> None:
        (run.folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
        (run.folder / "no-run").mkdir(exist_ok=True)

    @pytest.mark.parametrize(
        ("words", "parts"),
        [
            ("--run new --model.widht 3", ["'model.widht'", "'model.width'"]),
            ("--run new --data.path picture.csv", ["picture.csv", "binary file"]),
            ("--run new --data.path hoses.csv", ["hoses.csv", "'houses.csv'"]),
            ("--run new --data.target daer", ["'daer'", "'dear'", "houses.csv"]),
            ("--run new --config smal.yaml", ["smal.yaml"]),
            ("--run run", ["run is not empty", "--resume"]),
            ("--run houses.csv", ["houses.csv is a file"]),
            ("--run houses.csv/below", ["houses.csv is a file"]),
            ("--resume", ["--run DIR"]),
        ],
    )
    def test_in_fit(self, run: Run, words: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        sentence = refusal(run, f"{self.FIT} {words}", capsys)
        for part in parts:
            assert part in sentence
        assert not (run.folder / "new").exists()

    @pytest.mark.parametrize(
        ("line", "parts"),
        [
            ("validate --run rnu", ["rnu", "'run'"]),
            ("test --run no-run", ["no-run is no run", "config.yaml"]),
            ("test --run run --data picture.csv", ["picture.csv", "binary file"]),
            ("export --run rnu --out new", ["rnu"]),
            ("export --run run --out bundle", ["bundle"]),
            ("export --run run --out houses.csv/below", ["houses.csv is a file; `--out` names a folder."]),
            ("predict --bundle bundle --data picture.csv --out new.csv", ["picture.csv"]),
            ("predict --bundle bundle --data houses.csv --out predictions.csv", ["predictions.csv"]),
            ("predict --bundle bundle --data houses.csv --out new.csv --backend onnx", ["model.onnx", "export --onnx"]),
            ("export --run run --out graphs --onnx", ["graphs", "--force"]),
            ("predict --bundle run --data houses.csv --out new.csv", ["run", "bundle.json"]),
            ("init houses.csv --target dear", ["houses.yaml exists", "--force"]),
            ("init picture.csv --target x --out new.yaml", ["picture.csv"]),
        ],
    )
    def test_in_other_commands(self, run: Run, line: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        sentence = refusal(run, line, capsys)
        for part in parts:
            assert part in sentence

    def test_a_tracking_server_that_is_gone_costs_one_warning(
        self, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
            words = ["--run", "untracked", f"--tracking.uri=http://127.0.0.1:{closed.getsockname()[1]}"]
            with working_in(run.folder):
                line = "fit --config houses.yaml --config small.yaml --quiet --log json"
                assert main([*line.split(), *words]) == 0
        lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
        warnings = [line["message"] for line in lines if "MLflow" in line["message"]]
        assert len(warnings) == 1
        assert "Training goes on" in warnings[0]
        assert (run.folder / "untracked" / "bundle" / "bundle.json").is_file()
        first, second = (json.loads((run.folder / name / "metrics.json").read_text()) for name in ("run", "untracked"))
        assert first["test"].keys() == second["test"].keys()
