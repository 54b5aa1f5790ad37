"""From a run directory to a bundle; Lightning is not needed to read its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
import yaml

from mlpipe.bundle.averages import mean_threshold
from mlpipe.bundle.card import model_card
from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.format import BundleContents, read_bundle, write_bundle
from mlpipe.bundle.manifest import PREPROCESS, SCHEMA, STATISTICS
from mlpipe.bundle.staging import check_free
from mlpipe.errors import BundleError, MlpipeError
from mlpipe.features.calibration import Calibration
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.models import TableModel, TransformerConfig, build_model
from mlpipe.schema import InputSpec, Schema

CHECKPOINT = "checkpoints/best.ckpt"
#: A folder with this file is a cross-validation, whose folds are runs.
FOLDS = "folds.json"
#: The network's weights in the checkpoint of `mlpipe.training.module.TabularModule`.
_PREFIX = "net."


@dataclass(frozen=True)
class RunContents:
    """The fitted parts of a run, with its best weights.

    Attributes:
        schema: The raw table and the task.
        preprocessor: Fitted on the training rows.
        config: What the model was built from.
        model: The network, in evaluation mode, on the CPU.
        calibration: What makes answers of the network's outputs.
    """

    schema: Schema
    preprocessor: Preprocessor
    config: TransformerConfig
    model: TableModel
    calibration: Calibration


def load_run(run_dir: Path) -> RunContents:
    """Read the fitted parts of a run.

    Args:
        run_dir: What `mlpipe fit` left.

    Raises:
        BundleError: The run directory is incomplete, or its parts do not belong together.
    """
    _require(run_dir, CHECKPOINT, SCHEMA, PREPROCESS)
    preprocessor = Preprocessor.from_dict(_json(run_dir / PREPROCESS))
    config, model = _load_model(run_dir / CHECKPOINT)
    calibration = _calibration(run_dir / "calibration.json")
    if model.spec != calibration.network_spec(preprocessor.input_spec_):
        raise BundleError(f"{str(run_dir)!r}: {PREPROCESS} and {CHECKPOINT} are of different runs.")
    return RunContents(Schema.from_dict(_json(run_dir / SCHEMA)), preprocessor, config, model, calibration)


#: Makes the graphs of a model for its bundle, by backend: from the run's folder, and what it has come to.
MakeGraphs = Callable[[Path, RunContents | BundleContents], Mapping[str, bytes]]


def export_run(run_dir: Path, out: Path, *, graphs: MakeGraphs | None = None, overwrite: bool = False) -> Path:
    """Write the best weights of a run as a bundle, or the models of a cross-validation as an ensemble.

    Args:
        run_dir: What `mlpipe fit` or `mlpipe crossval` left.
        out: The folder to make.
        graphs: Called once for each model, before anything is written.
        overwrite: Replace a bundle at `out`.

    Returns:
        `out`.

    Raises:
        BundleError: The run directory is incomplete, its parts do not belong together, or `out` is taken.
    """
    if (run_dir / FOLDS).is_file():
        return _export_average(run_dir, out, graphs, overwrite=overwrite)
    _require(run_dir, "config.yaml", "metrics.json", "sample_row.json", STATISTICS)
    check_free(out, overwrite=overwrite)
    contents = load_run(run_dir)
    metrics, sample_row = _json(run_dir / "metrics.json"), _json(run_dir / "sample_row.json")
    data = _data_group(run_dir)
    return write_bundle(
        out,
        schema=contents.schema,
        preprocessor=contents.preprocessor,
        model=contents.model,
        config=contents.config,
        calibration=contents.calibration,
        statistics=_statistics(run_dir / STATISTICS),
        metrics=metrics,
        model_card=model_card(
            name=run_dir.resolve().name,
            schema=contents.schema,
            metrics=metrics,
            sample_row=sample_row,
            source=_source_name(data),
            num_parameters=sum(parameter.numel() for parameter in contents.model.parameters()),
            trunk=contents.config.trunk,
            kept_rows=contents.preprocessor.kept_rows,
            threshold=contents.calibration.threshold,
            level=contents.calibration.level,
        ),
        sample_row=sample_row,
        read=data.get("read"),
        graphs=graphs and graphs(run_dir, contents),
        overwrite=overwrite,
    )


def _export_average(run_dir: Path, out: Path, graphs: MakeGraphs | None, *, overwrite: bool) -> Path:
    """Write the bundles of all folds as one that averages them."""
    _require(run_dir, "config.yaml", "metrics.json", STATISTICS, verb="crossval")
    check_free(out, overwrite=overwrite)
    metrics = _json(run_dir / "metrics.json")
    runs = [run_dir / record["run"] for record in _json(run_dir / FOLDS)["runs"]]
    members = [read_bundle(run / "bundle") for run in runs]
    shown = {name: metrics[name] for name in ("mean", "std", "test") if name in metrics}
    card = model_card(
        name=run_dir.resolve().name,
        schema=members[0].schema,
        metrics=shown,
        sample_row=members[0].sample_request,
        source=_source_name(_data_group(run_dir)),
        num_parameters=sum(p.numel() for member in members for p in member.model.parameters()),
        trunk=members[0].config.trunk,
        num_members=len(members),
        kept_rows=sum(member.preprocessor.kept_rows for member in members),
        threshold=mean_threshold(member.calibration.threshold for member in members),
        level=members[0].calibration.level,
    )
    return write_ensemble(
        out,
        members,
        statistics=_statistics(run_dir / STATISTICS),
        metrics=shown,
        model_card=card,
        graphs=graphs and [graphs(run, member) for run, member in zip(runs, members, strict=True)],
        overwrite=overwrite,
    )


def _data_group(run_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))["data"]
    return values


def _source_name(data: Mapping[str, Any]) -> str | None:
    """The training file's name; its folder is nobody's business."""
    source = data.get("path") or data.get("train")
    return None if source is None else PurePath(source).name


def _require(run_dir: Path, *names: str, verb: str = "fit") -> None:
    if not run_dir.is_dir():
        raise BundleError(f"There is no run directory at {str(run_dir)!r}.")
    for name in names:
        if not (run_dir / name).is_file():
            raise BundleError(f"{str(run_dir)!r} has no {name}; let `mlpipe {verb}` finish this run first.")


def _load_model(path: Path) -> tuple[TransformerConfig, TableModel]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a file cut off, a file of another kind, a pickle that holds more than tensors
        raise BundleError(f"{str(path)!r} is no checkpoint that can be read; `mlpipe fit` writes it anew.") from error
    recipe = checkpoint.get("mlpipe")
    if recipe is None:
        raise BundleError(f"{str(path)!r} was not written by `mlpipe fit`: it does not say which model it is of.")
    config = TransformerConfig.from_dict(recipe["model"])
    with torch.random.fork_rng(devices=[]):  # initialising draws random numbers
        model = build_model(config, InputSpec.from_dict(recipe["spec"]))
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    model.load_state_dict(weights)
    return model.config, model.eval()


def _calibration(path: Path) -> Calibration:
    if not path.exists():  # a run that was killed before it was measured
        return Calibration()
    try:
        return Calibration.from_dict(_json(path))
    except (MlpipeError, TypeError) as error:
        raise BundleError(f"{str(path)!r} is not as mlpipe writes it ({error}).") from error


def _statistics(path: Path) -> Statistics:
    values = _json(path)
    try:
        return Statistics.from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{str(path)!r} is not as mlpipe writes it ({type(error).__name__}: {error}).") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{str(path)!r} is not JSON ({error}).") from error
