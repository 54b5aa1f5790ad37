"""Writing and reading a bundle: the folder that holds all a prediction needs, and no code.

- Written whole or not at all: a temporary folder beside the target, flushed to disk, then renamed.
- Weights are safetensors, all else is JSON and Markdown; nothing is ever unpickled.
- Reading trusts nothing: hashes first (`mlpipe.bundle.folder`), then every weight's name, shape, type and
  values against the model that the config describes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

import mlpipe
from mlpipe.bundle import manifest as files
from mlpipe.bundle.folder import read_file, read_manifest
from mlpipe.bundle.manifest import AnyManifest, FileEntry, Manifest, refuse
from mlpipe.bundle.staging import check_free, staged, write_files
from mlpipe.errors import BundleError
from mlpipe.features.calibration import Calibration
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.models import TableModel, TransformerConfig, build_model
from mlpipe.schema import InputSpec, Schema


@dataclass(frozen=True)
class BundleContents:
    """A bundle that was read and found whole.

    Attributes:
        folder: Where it lies.
        manifest: Its `bundle.json`.
        schema: The raw table and the task.
        preprocessor: Fitted; from raw rows to arrays, and from the model's outputs to predictions.
        config: What the model was built from.
        model: With its weights, in evaluation mode, on the CPU, without gradients.
        calibration: What makes answers of the model's outputs.
        sample_request: One raw row.
        statistics: What the training rows looked like, and what the model answers.
        graphs: The network once more, by the backend that runs it; see `mlpipe.bundle.backends`.
    """

    folder: Path
    manifest: Manifest
    schema: Schema
    preprocessor: Preprocessor
    config: TransformerConfig
    model: TableModel
    calibration: Calibration
    sample_request: dict[str, Any]
    statistics: Statistics
    graphs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The short hash that names the content."""
        return self.manifest.version


def write_bundle(
    out: Path,
    *,
    schema: Schema,
    preprocessor: Preprocessor,
    model: nn.Module,
    config: TransformerConfig,
    calibration: Calibration,
    statistics: Statistics,
    metrics: Mapping[str, Any],
    model_card: str,
    sample_row: Mapping[str, Any],
    read: Mapping[str, Any] | None = None,
    graphs: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a bundle, whole or not at all.

    Args:
        out: The folder to make; its parents are made too.
        schema: The raw table and the task.
        preprocessor: Fitted on the training rows.
        model: The trained network.
        config: What `model` was built from.
        calibration: What makes answers of the model's outputs.
        statistics: What the training rows looked like, and what the model answers.
        metrics: Any nested mapping of numbers; NaN is written as null.
        model_card: Markdown.
        sample_row: A raw row, of JSON values or as Polars gives it; what is no feature is left out.
        read: The options that the training file was read with, as a dict; None for the defaults.
        graphs: The network as graphs too, by the backend that runs them.
        overwrite: Replace a bundle at `out`. Anything else at `out` is never replaced.

    Returns:
        `out`.

    Raises:
        BundleError: `out` is taken, a weight is not finite, or the sample row lacks a feature.
    """
    check_free(out, overwrite=overwrite)
    missing = [column.name for column in schema.features if column.name not in sample_row]
    if missing:
        raise BundleError(f"The sample row for {str(out)!r} has no value for the feature {missing[0]!r}.")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _check_finite(out, weights)
    sample = plain({column.name: sample_row[column.name] for column in schema.features})
    contents = {
        files.SCHEMA: files.dump_json(schema.to_dict()).encode(),
        files.PREPROCESS: files.dump_json(preprocessor.to_dict()).encode(),
        files.WEIGHTS: safetensors.torch.save(weights),
        files.STATISTICS: files.dump_json(statistics.to_dict()).encode(),
        files.MODEL_CARD: model_card.encode(),
        files.SAMPLE_REQUEST: files.dump_json(sample).encode(),
        **{files.GRAPHS[name]: graph for name, graph in (graphs or {}).items()},
    }
    manifest = Manifest(
        mlpipe_version=mlpipe.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=schema.task.to_dict(),
        model=config.to_dict(),
        input_spec=calibration.network_spec(preprocessor.input_spec_).to_dict(),
        calibration=calibration.to_dict(),
        metrics=plain(metrics),
        read=None if read is None else dict(read),
        files={name: FileEntry.of(content) for name, content in contents.items()},
    )
    contents[files.MANIFEST] = manifest.to_json().encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with staged(out) as stage:
        write_files(stage, contents)
    return out


def read_bundle(path: str | Path) -> BundleContents:
    """Read a bundle of one model and check all of it; `mlpipe.bundle.ensemble.read_contents` reads both kinds.

    Raises:
        BundleError: Names the file and says what is wrong with it.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if not isinstance(manifest, Manifest):
        refuse(folder, files.MANIFEST, "is of an ensemble; one model was expected")
    return read_model(folder, manifest)


def read_model(folder: Path, manifest: Manifest) -> BundleContents:
    """Read what the manifest of one model lists, and check that the parts belong together.

    Raises:
        BundleError: Names the file and says what is wrong with it.
    """
    contents = {name: read_file(folder, manifest, name) for name in manifest.files}

    schema = parse_schema(folder, manifest, contents[files.SCHEMA])
    with _parsing(folder, files.PREPROCESS):
        preprocessor = Preprocessor.from_dict(files.parse_json(folder, files.PREPROCESS, contents[files.PREPROCESS]))
    with _parsing(folder, files.MANIFEST):
        config = TransformerConfig.from_dict(manifest.model)
        spec = InputSpec.from_dict(manifest.input_spec)
        calibration = Calibration.from_dict(manifest.calibration)
    if spec != calibration.network_spec(preprocessor.input_spec_):
        refuse(folder, files.PREPROCESS, f"makes other features than {files.MANIFEST} says the model reads")
    with _parsing(folder, files.MANIFEST), torch.random.fork_rng(devices=[]):  # initialising draws random numbers
        model = build_model(config, spec)
    _load_weights(folder, model, contents[files.WEIGHTS])
    statistics = parse_statistics(folder, contents[files.STATISTICS], preprocessor)
    sample = files.parse_json(folder, files.SAMPLE_REQUEST, contents[files.SAMPLE_REQUEST])
    graphs = {backend: contents[name] for backend, name in files.GRAPHS.items() if name in contents}
    return BundleContents(
        folder, manifest, schema, preprocessor, model.config, model, calibration, sample, statistics, graphs
    )


def parse_schema(folder: Path, manifest: AnyManifest, content: bytes) -> Schema:
    """The schema of a bundle, from the content of its file.

    Raises:
        BundleError: It is none, or of another task than the manifest.
    """
    with _parsing(folder, files.SCHEMA):
        schema = Schema.from_dict(files.parse_json(folder, files.SCHEMA, content))
    if schema.task.to_dict() != manifest.task:
        refuse(folder, files.SCHEMA, f"has another task than {files.MANIFEST}")
    return schema


def parse_statistics(folder: Path, content: bytes, preprocessor: Preprocessor) -> Statistics:
    """The statistics of a bundle, from the content of their file.

    Args:
        folder: The bundle.
        content: Of the file.
        preprocessor: Whose features they are of.

    Raises:
        BundleError: They are none, or of other features.
    """
    with _parsing(folder, files.STATISTICS):
        statistics = Statistics.from_dict(files.parse_json(folder, files.STATISTICS, content))
    if not statistics.fits(preprocessor.input_spec_):
        refuse(folder, files.STATISTICS, f"is of other features than {files.PREPROCESS} makes")
    return statistics


@contextlib.contextmanager
def _parsing(folder: Path, name: str) -> Iterator[None]:
    """Turn the errors of records that do not fit into a sentence that names the file."""
    try:
        yield
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        refuse(folder, name, f"is not as mlpipe writes it ({type(error).__name__}: {error})")


def _load_weights(folder: Path, model: nn.Module, content: bytes) -> None:
    try:
        weights = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        refuse(folder, files.WEIGHTS, f"is not a safetensors file ({error})")
    expected = model.state_dict()
    for name, value in expected.items():
        if name not in weights:
            refuse(folder, files.WEIGHTS, f"has no {name!r}, which the model of {files.MANIFEST} needs")
        found = weights[name]
        if found.shape != value.shape or found.dtype != value.dtype:
            have, want = _describe(found), _describe(value)
            refuse(folder, files.WEIGHTS, f"has {name!r} as {have}, but the model of {files.MANIFEST} needs {want}")
    surplus = sorted(set(weights) - set(expected))
    if surplus:
        refuse(folder, files.WEIGHTS, f"has {surplus[0]!r}, which the model of {files.MANIFEST} does not know")
    _check_finite(folder, weights)
    model.load_state_dict(weights)
    model.eval().requires_grad_(False)


def _check_finite(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            refuse(folder, files.WEIGHTS, f"has NaN or infinite values in {name!r}")


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def plain(value: Any) -> Any:
    """As JSON has it: NaN as null, times as text, durations in seconds."""
    match value:
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
    return value
