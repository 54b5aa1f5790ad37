"""A run directory becomes a bundle, or the sentence says what it lacks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from polars.testing import assert_frame_equal

from mlpipe.bundle.ensemble import EnsembleContents, read_contents
from mlpipe.bundle.export import export_run, load_run
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.predictor import Predictor
from mlpipe.errors import BundleError
from mlpipe.features.calibration import Calibration


@pytest.fixture
def run_dir(binary: Any, tmp_path: Path) -> Path:
    """What `mlpipe fit` leaves, as far as an export reads it."""
    run = tmp_path / "runs" / "census" / "first"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = {
        "state_dict": {f"net.{name}": value for name, value in binary.model.state_dict().items()},
        "optimizer_states": [{"step": 3}],
        "mlpipe": {"model": binary.model.config.to_dict(), "spec": binary.preprocessor.input_spec_.to_dict()},
    }
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    config = {"data": {"path": "/far/away/orders.csv", "read": {"separator": ";"}}, "model": {"width": 16}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    sample = {**binary.frame.row(3, named=True), "day": "2024-01-04"}
    for name, values in {
        "schema": binary.schema.to_dict(),
        "preprocess": binary.preprocessor.to_dict(),
        "statistics": binary.statistics.to_dict(),
        "metrics": {"validation": {"auroc": 0.75}, "test": {"auroc": 0.5}, "train_seconds": 1.0},
        "calibration": {"temperature": 1.5},
        "sample_row": sample,
    }.items():
        (run / f"{name}.json").write_text(json.dumps(values))
    return run


def test_the_bundle_predicts_as_the_run_does(binary: Any, run_dir: Path, tmp_path: Path) -> None:
    out = export_run(run_dir, tmp_path / "bundle")
    contents = read_bundle(out)
    expected = Predictor.load(binary.write(tmp_path / "direct")).predict(binary.frame)
    assert Predictor.of(contents).predict(binary.frame).equals(expected)
    assert contents.manifest.metrics["test"] == {"auroc": 0.5}
    assert contents.manifest.read == {"separator": ";"}
    assert contents.statistics == binary.statistics
    assert contents.sample_request["visits"] == binary.frame["visits"][3]
    card = (out / "model_card.md").read_text()
    assert card.startswith("# first\n")
    assert "Trained on `orders.csv`." in card
    assert "far" not in card


def test_a_run_gives_its_parts_for_evaluation(binary: Any, run_dir: Path) -> None:
    contents = load_run(run_dir)
    assert contents.calibration == Calibration(1.5)
    assert contents.schema == binary.schema
    assert not contents.model.training
    for name, value in binary.model.state_dict().items():
        assert torch.equal(contents.model.state_dict()[name], value), name


def test_without_calibration_the_temperature_is_one(run_dir: Path) -> None:
    (run_dir / "calibration.json").unlink()
    assert load_run(run_dir).calibration == Calibration()


def test_two_exports_are_the_same_bundle(run_dir: Path, tmp_path: Path) -> None:
    versions = [read_bundle(export_run(run_dir, tmp_path / name)).version for name in ("a", "b")]
    assert versions[0] == versions[1]


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/best.ckpt",
        "schema.json",
        "preprocess.json",
        "statistics.json",
        "metrics.json",
        "sample_row.json",
        "config.yaml",
    ],
)
def test_what_is_missing_is_named(run_dir: Path, tmp_path: Path, name: str) -> None:
    (run_dir / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}; let `mlpipe fit` finish this run first"):
        export_run(run_dir, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("{}", "is not as mlpipe writes it")])
def test_statistics_that_cannot_be_read_are_named(run_dir: Path, tmp_path: Path, content: str, said: str) -> None:
    (run_dir / "statistics.json").write_text(content)
    with pytest.raises(BundleError, match=rf"statistics\.json' {said}"):
        export_run(run_dir, tmp_path / "bundle")


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"There is no run directory at .*nothing"):
        export_run(tmp_path / "nothing", tmp_path / "bundle")


def test_an_existing_bundle_is_replaced_only_when_asked(run_dir: Path, tmp_path: Path) -> None:
    export_run(run_dir, tmp_path / "bundle")
    with pytest.raises(BundleError, match="--force replaces it"):
        export_run(run_dir, tmp_path / "bundle")
    (run_dir / "calibration.json").write_text('{"temperature": 3.0}')
    export_run(run_dir, tmp_path / "bundle", overwrite=True)
    assert read_bundle(tmp_path / "bundle").calibration == Calibration(3.0)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_checkpoint_that_cannot_be_read_is_named(run_dir: Path, tmp_path: Path, content: bytes) -> None:
    (run_dir / "checkpoints" / "best.ckpt").write_bytes(content)
    with pytest.raises(BundleError, match=r"best\.ckpt' is no checkpoint that can be read"):
        export_run(run_dir, tmp_path / "bundle")


def test_a_checkpoint_with_more_than_tensors_is_not_unpickled(run_dir: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "path": Path("x")}, run_dir / "checkpoints" / "best.ckpt")
    with pytest.raises(BundleError, match="no checkpoint that can be read"):
        export_run(run_dir, tmp_path / "bundle")


def test_a_checkpoint_of_another_program_is_refused(run_dir: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, run_dir / "checkpoints" / "best.ckpt")
    with pytest.raises(BundleError, match="was not written by `mlpipe fit`"):
        export_run(run_dir, tmp_path / "bundle")


def test_parts_of_different_runs_are_refused(run_dir: Path, tmp_path: Path) -> None:
    path = run_dir / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["mlpipe"]["spec"]["numeric"][0]["name"] = "another"
    torch.save(checkpoint, path)
    with pytest.raises(BundleError, match="are of different runs"):
        export_run(run_dir, tmp_path / "bundle")


def test_json_that_is_cut_off_is_named(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "metrics.json").write_text('{"test": ')
    with pytest.raises(BundleError, match=r"metrics\.json' is not JSON"):
        export_run(run_dir, tmp_path / "bundle")


def test_a_cross_validation_becomes_an_ensemble(binary: Any, run_dir: Path, tmp_path: Path) -> None:
    parent = tmp_path / "cv"
    for name in ("fold-0", "fold-1"):
        shutil.copytree(run_dir, parent / name)
        export_run(parent / name, parent / name / "bundle")
    shutil.copy(run_dir / "config.yaml", parent)
    (parent / "folds.json").write_text(json.dumps({"runs": [{"run": "fold-0"}, {"run": "fold-1"}]}))
    with pytest.raises(BundleError, match=r"cv' has no metrics\.json; let `mlpipe crossval` finish this run first"):
        export_run(parent, tmp_path / "bundle")
    metrics = {"mean": {"auroc": 0.5}, "std": {"auroc": 0.1}, "min": {}, "max": {}, "folds": [], "train_seconds": 3.0}
    (parent / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(BundleError, match=r"cv' has no statistics\.json; let `mlpipe crossval` finish this run first"):
        export_run(parent, tmp_path / "bundle")
    of_all = replace(binary.statistics, ranges={"age": (-1.0, 99.0)})
    (parent / "statistics.json").write_text(json.dumps(of_all.to_dict()))
    contents = read_contents(export_run(parent, tmp_path / "bundle"))
    assert isinstance(contents, EnsembleContents)
    assert len(contents.members) == 2
    assert contents.statistics == of_all != contents.members[-1].statistics
    assert contents.manifest.metrics == {"mean": {"auroc": 0.5}, "std": {"auroc": 0.1}}
    assert contents.manifest.read == {"separator": ";"}
    card = (tmp_path / "bundle" / "model_card.md").read_text()
    assert card.startswith("# cv\n")
    assert "Trained on `orders.csv`." in card
    assert_frame_equal(
        Predictor.of(contents).predict(binary.frame), Predictor.load(parent / "fold-0" / "bundle").predict(binary.frame)
    )
