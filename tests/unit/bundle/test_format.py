"""A bundle is written whole or not at all, reads back as it was, and is refused where it does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mlpipe.bundle.folder import verify
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.manifest import MANIFEST, REQUIRED_FILES, FileEntry, Manifest
from mlpipe.errors import BundleError
from mlpipe.features.calibration import Calibration
from mlpipe.models import TransformerConfig, build_model
from mlpipe.schema import TaskKind

Weights = dict[str, torch.Tensor]


@pytest.fixture
def bundle(binary: Any, tmp_path: Path) -> Path:
    out: Path = binary.write(tmp_path / "bundle")
    return out


def replace_file(bundle: Path, name: str, content: bytes, **changes: Any) -> None:
    """Change a file and the manifest with it, so that every hash is right."""
    manifest = Manifest.from_json(bundle, (bundle / MANIFEST).read_bytes())
    (bundle / name).write_bytes(content)
    changed = replace(manifest, files={**manifest.files, name: FileEntry.of(content)}, **changes)
    (bundle / MANIFEST).write_text(changed.to_json())


def change_weights(bundle: Path, change: Callable[[Weights], Weights]) -> None:
    path = bundle / "weights.safetensors"
    replace_file(bundle, path.name, safetensors.torch.save(change(safetensors.torch.load(path.read_bytes()))))


@pytest.mark.parametrize("kind", list(TaskKind))
def test_what_is_written_reads_back(fitted: Callable[[TaskKind], Any], kind: TaskKind, tmp_path: Path) -> None:
    source = fitted(kind)
    contents = read_bundle(source.write(tmp_path / "a" / "b" / "bundle", read={"separator": ";"}))
    assert contents.schema == source.schema
    assert contents.calibration == Calibration(1.5)
    assert contents.manifest.read == {"separator": ";"}
    assert contents.preprocessor.to_dict() == source.preprocessor.to_dict()
    assert contents.statistics == source.statistics
    assert not contents.model.training
    for name, value in source.model.state_dict().items():
        assert torch.equal(contents.model.state_dict()[name], value), name


@pytest.mark.parametrize("changes", [{"trunk": "mlp"}, {"ensemble": 2}, {"trunk": "mlp", "ensemble": 2}])
def test_a_model_of_another_kind_reads_back(binary: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = TransformerConfig(width=16, num_layers=1, num_heads=2, readout_tokens=3, members=3, **changes)
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, binary.preprocessor.input_spec_).eval()
    contents = read_bundle(binary.write(tmp_path / "bundle", model=model, config=config))
    assert contents.config == model.config  # `trunk: auto` has been decided
    assert type(contents.model) is type(model)
    arrays = binary.preprocessor.transform(binary.frame)
    inputs = [torch.from_numpy(values) for values in (arrays.numeric, arrays.missing, arrays.categorical)]
    assert torch.equal(contents.model.eval()(*inputs), model(*inputs))


def test_the_same_inputs_give_the_same_files_and_version(binary: Any, tmp_path: Path) -> None:
    first, second = (binary.write(tmp_path / name) for name in ("a", "b"))
    assert verify(first).version == verify(second).version
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in REQUIRED_FILES)
    assert verify(binary.write(tmp_path / "c", calibration=Calibration(1.6))).version != verify(first).version


def test_the_sample_request_is_a_json_row_of_the_features(bundle: Path) -> None:
    sample = json.loads((bundle / "sample_request.json").read_text())
    assert list(sample) == ["age", "visits", "city", "member", "day"]
    assert sample["day"] == "2024-01-01"


def test_loading_does_not_draw_random_numbers(bundle: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    read_bundle(bundle)
    assert torch.rand(()) == expected


def test_a_metric_that_is_nan_is_written_as_null(binary: Any, tmp_path: Path) -> None:
    metrics = {"test": {"auroc": float("nan"), "f1": 0.5}, "train_seconds": 3.0}
    written = verify(binary.write(tmp_path / "b", metrics=metrics)).metrics
    assert written == {"test": {"auroc": None, "f1": 0.5}, "train_seconds": 3.0}


def test_a_bundle_is_replaced_only_when_asked(binary: Any, bundle: Path) -> None:
    before = verify(bundle).version
    with pytest.raises(BundleError, match=r"There is a bundle at .* already; --force replaces it"):
        binary.write(bundle, calibration=Calibration(2.0))
    assert verify(bundle).version == before
    binary.write(bundle, calibration=Calibration(2.0), overwrite=True)
    assert verify(bundle).version != before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_bundle_is_never_replaced(binary: Any, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "file", "link"):
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            binary.write(tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "x"


def test_a_file_of_the_users_inside_a_bundle_is_not_lost(binary: Any, bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"holds 'notes\.txt', which is not mlpipe's"):
        binary.write(bundle, overwrite=True)
    assert (bundle / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(binary: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    verify(binary.write(tmp_path / "empty"))


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failure_on_the_way_leaves_the_old_bundle_and_nothing_else(
    binary: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = verify(bundle)

    def fail(*arguments: Any) -> None:
        raise OSError("no space left on device")

    if step == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    else:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda self, to: fail() if self.suffix == ".new" else rename(self, to))
    with pytest.raises(OSError, match="no space left"):
        binary.write(bundle, calibration=Calibration(9.0), overwrite=True)
    monkeypatch.undo()
    assert verify(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_weights_that_are_not_finite_are_not_written(binary: Any, tmp_path: Path) -> None:
    broken = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.tensor([1.0, float("inf")]))})
    with pytest.raises(BundleError, match=r"weights\.safetensors has NaN or infinite values in 'w'"):
        binary.write(tmp_path / "b", model=broken)
    assert list(tmp_path.iterdir()) == []


def test_a_sample_row_without_a_feature_is_refused(binary: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no value for the feature 'age'"):
        binary.write(tmp_path / "b", sample_row={"visits": 1})


def test_a_weight_left_out_is_named(bundle: Path) -> None:
    change_weights(bundle, lambda weights: {k: v for k, v in weights.items() if k != "head.bias"})
    with pytest.raises(BundleError, match=r"weights\.safetensors has no 'head\.bias'"):
        read_bundle(bundle)


def test_a_weight_too_many_is_named(bundle: Path) -> None:
    change_weights(bundle, lambda weights: {**weights, "extra": torch.zeros(1)})
    with pytest.raises(BundleError, match=r"weights\.safetensors has 'extra', which the model .* does not know"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("value", "said"),
    [(torch.zeros(4, 1), r"float32 \[4, 1\]"), (torch.zeros(3, 1, dtype=torch.float64), r"float64 \[3, 1\]")],
)
def test_a_weight_of_another_shape_or_type_is_named(bundle: Path, value: torch.Tensor, said: str) -> None:
    change_weights(bundle, lambda weights: {**weights, "head.bias": value})
    with pytest.raises(BundleError, match=rf"has 'head\.bias' as {said}, but .* needs float32 \[3, 1\]"):
        read_bundle(bundle)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(bundle: Path, value: float) -> None:
    change_weights(bundle, lambda weights: {**weights, "head.bias": torch.full((3, 1), value)})
    with pytest.raises(BundleError, match=r"NaN or infinite values in 'head\.bias'"):
        read_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_weights_that_are_no_safetensors_are_refused(bundle: Path, content: bytes) -> None:
    replace_file(bundle, "weights.safetensors", content)
    with pytest.raises(BundleError, match=r"weights\.safetensors (is not a safetensors file|has no )"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["schema.json", "preprocess.json", "statistics.json"])
@pytest.mark.parametrize("content", [b"[]", b"{}", b"3", b"{", b'{"columns": [{}], "task": {}}', b'{"version": 1}'])
def test_json_of_another_form_is_refused(bundle: Path, name: str, content: bytes) -> None:
    replace_file(bundle, name, content)
    with pytest.raises(BundleError, match=f"{name} is not"):
        read_bundle(bundle)


def test_statistics_of_other_features_are_refused(fitted: Callable[..., Any], bundle: Path) -> None:
    values = fitted(TaskKind.BINARY).statistics.to_dict()
    values["features"]["numeric"][0]["name"] = "wage"
    replace_file(bundle, "statistics.json", json.dumps(values).encode())
    with pytest.raises(BundleError, match=r"statistics\.json is of other features than preprocess\.json makes"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": {"width": 16, "num_heads": 2, "widht": 3}},
            r"bundle\.json is not .*'?widht'?.* Did you mean 'width'",
        ),
        ({"model": {"width": -1}}, r"bundle\.json is not .*width"),
        (
            {"input_spec": {"numeric": [], "categorical": [], "num_outputs": 1}},
            r"preprocess\.json makes other features",
        ),
        ({"input_spec": {}}, r"bundle\.json is not as mlpipe writes it \(KeyError"),
        ({"task": {"kind": "regression", "target": ["x"], "classes": []}}, r"schema\.json has another task"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(bundle: Path, changes: dict[str, Any], said: str) -> None:
    replace_file(bundle, "model_card.md", b"# A card\n", **changes)
    with pytest.raises(BundleError, match=said):
        read_bundle(bundle)
