"""From a run directory to a bundle; Lightning is not needed to read its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from mlpipe.bundle.card import model_card
from mlpipe.bundle.format import write_bundle
from mlpipe.bundle.manifest import PREPROCESS, SCHEMA
from mlpipe.bundle.staging import check_free
from mlpipe.errors import BundleError
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.models.config import TransformerConfig
from mlpipe.models.transformer import Transformer
from mlpipe.schema import InputSpec, Schema

CHECKPOINT = "checkpoints/best.ckpt"
#: What a run directory must hold; the calibration is optional.
REQUIRED = (CHECKPOINT, "config.yaml", "metrics.json", "sample_row.json", SCHEMA, PREPROCESS)
#: The network's weights in the checkpoint of `mlpipe.training.module.TabularModule`.
_PREFIX = "net."


def export_run(run_dir: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write the best weights of a run as a bundle.

    Args:
        run_dir: What `mlpipe fit` left.
        out: The folder to make.
        overwrite: Replace a bundle at `out`.

    Returns:
        `out`.

    Raises:
        BundleError: The run directory is incomplete, its parts do not belong together, or `out` is taken.
    """
    if not run_dir.is_dir():
        raise BundleError(f"There is no run directory at {str(run_dir)!r}.")
    for name in REQUIRED:
        if not (run_dir / name).is_file():
            raise BundleError(f"{str(run_dir)!r} has no {name}; let `mlpipe fit` finish this run before exporting it.")
    check_free(out, overwrite=overwrite)
    schema = Schema.from_dict(_json(run_dir / SCHEMA))
    preprocessor = Preprocessor.from_dict(_json(run_dir / PREPROCESS))
    config, model = _load_model(run_dir)
    if model.spec != preprocessor.input_spec_:
        raise BundleError(f"{str(run_dir)!r}: {PREPROCESS} and {CHECKPOINT} are of different runs.")
    metrics, sample_row = _json(run_dir / "metrics.json"), _json(run_dir / "sample_row.json")
    data = (yaml.safe_load((run_dir / "config.yaml").read_text()) or {}).get("data") or {}
    source = data.get("path") or data.get("train")
    calibration = run_dir / "calibration.json"
    return write_bundle(
        out,
        schema=schema,
        preprocessor=preprocessor,
        model=model,
        config=config,
        temperature=_json(calibration)["temperature"] if calibration.exists() else 1.0,
        metrics=metrics,
        model_card=model_card(
            name=run_dir.resolve().name,
            schema=schema,
            metrics=metrics,
            sample_row=sample_row,
            source=None if source is None else Path(source).name,
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        ),
        sample_row=sample_row,
        read=data.get("read"),
        overwrite=overwrite,
    )


def _load_model(run_dir: Path) -> tuple[TransformerConfig, Transformer]:
    path = run_dir / CHECKPOINT
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a file cut off, a file of another kind, a pickle that holds more than tensors
        raise BundleError(f"{str(path)!r} is no checkpoint that can be read; `mlpipe fit` writes it anew.") from error
    recipe = checkpoint.get("mlpipe")
    if recipe is None:
        raise BundleError(f"{str(path)!r} was not written by `mlpipe fit`: it does not say which model it is of.")
    config = TransformerConfig.from_dict(recipe["model"])
    model = Transformer(config, InputSpec.from_dict(recipe["spec"]))
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    model.load_state_dict(weights)
    return config, model.eval()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{str(path)!r} is not JSON ({error}).") from error
