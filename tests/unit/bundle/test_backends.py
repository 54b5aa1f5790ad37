"""Every backend gives torch's answers, and one that does not is refused by the name of its file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.bundle import backends
from mlpipe.bundle.backends import SIZES, Backend, BySize, open_backend
from mlpipe.bundle.copying import copy_bundle
from mlpipe.bundle.ensemble import read_contents, write_ensemble
from mlpipe.bundle.folded_network import FoldedNetwork
from mlpipe.bundle.folder import verify
from mlpipe.bundle.format import BundleContents, read_bundle
from mlpipe.bundle.network import TorchNetwork
from mlpipe.bundle.onnx_export import to_int8, to_onnx
from mlpipe.bundle.onnx_network import OnnxNetwork
from mlpipe.bundle.parity import TOLERANCES, differences, made_up_rows
from mlpipe.bundle.predictor import ModelPredictor, Predictor
from mlpipe.bundle.staging import check_free
from mlpipe.errors import BundleError, ConfigError
from mlpipe.features.calibration import Calibration, Interval
from mlpipe.models import TransformerConfig, build_model
from mlpipe.models.transformer import Transformer
from mlpipe.schema import TaskKind

Graphs = Callable[[TaskKind], dict[str, bytes]]


@pytest.fixture
def bundle(binary: Any, graphs: Graphs, tmp_path: Path) -> Path:
    path: Path = binary.write(tmp_path / "bundle", graphs=graphs(TaskKind.BINARY))
    return path


def answers(predictor: Predictor, source: Any, rows: int) -> np.ndarray[Any, Any]:
    assert isinstance(predictor, ModelPredictor)
    return predictor.predict_arrays(source.preprocessor.transform(source.frame.head(rows)))


def predictor_of(source: Any) -> ModelPredictor:
    """Runs the network as it was trained."""
    return ModelPredictor(
        schema=source.schema,
        preprocessor=source.preprocessor,
        model=source.model,
        statistics=source.statistics,
        calibration=Calibration(1.5),  # of `Fitted.write`
    )


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"trunk": "mlp", "members": 4}, {"trunk": "mlp", "ensemble": 2}, {"ensemble": 2}])
def test_every_trunk_is_a_graph(binary: Any, changes: dict[str, Any]) -> None:
    spec = binary.preprocessor.input_spec_
    model = build_model(TransformerConfig(width=16, num_heads=2, readout_tokens=3, **changes), spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    graph, rows = to_onnx(model), made_up_rows(spec, 33)
    with torch.inference_mode():
        torch.testing.assert_close(OnnxNetwork(graph, model)(rows), TorchNetwork(model)(rows), atol=1e-3, rtol=1e-3)
    if "trunk" in changes:
        with pytest.raises(ConfigError, match="no product with weights of one matrix"):
            to_int8(graph)


@pytest.mark.parametrize(
    "kind",
    [kind if kind is TaskKind.BINARY else pytest.param(kind, marks=pytest.mark.slow) for kind in TaskKind],
)
def test_every_backend_answers_as_torch_does(
    fitted: Callable[..., Any], graphs: Graphs, kind: TaskKind, tmp_path: Path
) -> None:
    source = fitted(kind)
    bundle = source.write(tmp_path / "bundle", graphs=graphs(kind))
    predictors = {name: Predictor.load(bundle, name) for name in ("torch", "onnx", "int8", "auto")}
    assert {name: predictor.backend.name for name, predictor in predictors.items() if name != "auto"} == {
        name: name for name in predictors if name != "auto"
    }
    trained = predictor_of(source)
    for rows in (0, 1, 2, 64, 300):
        expected = answers(trained, source, rows)
        for name, tolerance in {**TOLERANCES, "auto": TOLERANCES["onnx"]}.items():
            found = answers(predictors[name], source, rows)
            assert found.dtype == np.float32
            difference = np.abs(found - expected)
            # The networks of these tests have large random weights, and for single rows feel a rounding more.
            assert (difference.mean() if name == "int8" and rows else difference.max(initial=0.0)) <= tolerance, name
    assert not np.array_equal(answers(predictors["int8"], source, 300), answers(predictors["torch"], source, 300))


def test_a_folded_network_that_would_answer_otherwise_is_not_used(
    binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = binary.write(tmp_path / "bundle")
    used = Predictor.load(bundle).backend
    assert (type(used.networks[0]), used.reason) == (FoldedNetwork, "")
    monkeypatch.setitem(TOLERANCES, "torch", -1.0)
    used = Predictor.load(bundle).backend
    assert isinstance(used.networks[0], TorchNetwork)
    assert used.reason.startswith("Backend torch runs as trained: folded, it would give other answers (by ")


def test_what_cannot_be_folded_runs_as_it_was_trained(binary: Any, tmp_path: Path) -> None:
    config = TransformerConfig(trunk="mlp", members=3, member_width=16)
    model = build_model(config, binary.preprocessor.input_spec_).eval()
    used = Predictor.load(binary.write(tmp_path / "bundle", model=model, config=config)).backend
    assert (type(used.networks[0]), used.name, used.reason) == (TorchNetwork, "torch", "")


@pytest.mark.slow
def test_quantiles_are_answered_alike(fitted: Callable[..., Any], tmp_path: Path) -> None:
    source = fitted(TaskKind.REGRESSION)
    calibration = Calibration(interval=Interval(0.9, 0.1, quantiles=True))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Transformer(source.model.config, calibration.network_spec(source.preprocessor.input_spec_)).eval()
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    graph = to_onnx(model)
    bundle = source.write(
        tmp_path / "bundle", model=model, calibration=calibration, graphs={"onnx": graph, "int8": to_int8(graph)}
    )
    expected, found = (Predictor.load(bundle, name).predict(source.frame) for name in ("torch", "onnx"))
    assert found.columns == ["prediction", "lower", "upper"]
    unit = source.frame["price"].std()
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-4 * unit)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"readout": "all", "rope": "none", "first_norm": True},
        {"head": "members", "numeric_embedding": "plr", "qk_norm": True},
        {"numeric_embedding": "pbld", "gate": "geglu"},
        {"numeric_embedding": "linear", "num_layers": 2},
    ],
)
def test_every_architecture_can_be_exported(binary: Any, changes: dict[str, Any]) -> None:
    config = type(binary.model.config).from_dict({**binary.model.config.to_dict(), **changes})
    model = Transformer(config, binary.preprocessor.input_spec_).eval().requires_grad_(False)
    rows = made_up_rows(model.spec, 50)
    found = differences(OnnxNetwork(to_onnx(model), model)(rows), TorchNetwork(model)(rows), TaskKind.BINARY, 1.0)
    assert found.max() <= TOLERANCES["onnx"]


@settings(deadline=None)  # the first example may have to export
@given(data=st.data())
def test_any_rows_are_answered_alike(fitted: Callable[..., Any], graphs: Graphs, data: st.DataObject) -> None:
    model = fitted(TaskKind.BINARY).model
    rows = data.draw(st.integers(0, 5))
    numbers = st.floats(-100, 100, width=32)

    def matrix(values: st.SearchStrategy[Any], columns: int, dtype: type) -> np.ndarray[Any, Any]:
        row = st.lists(values, min_size=columns, max_size=columns)
        drawn = data.draw(st.lists(row, min_size=rows, max_size=rows))
        return np.array(drawn, dtype).reshape(rows, columns)

    missing = matrix(st.booleans(), len(model.spec.numeric), np.bool_)
    numeric = np.where(missing, np.float32(0), matrix(numbers, len(model.spec.numeric), np.float32))
    # Ids outside of a vocabulary too: the network reads them as values it has not seen.
    arrays = Arrays(numeric, missing, matrix(st.integers(-3, 40), len(model.spec.categorical), np.int32))
    found, expected = OnnxNetwork(graphs(TaskKind.BINARY)["onnx"], model)(arrays), TorchNetwork(model)(arrays)
    assert found.shape == expected.shape
    assert (differences(found, expected, TaskKind.BINARY, 1.0) <= TOLERANCES["onnx"]).all()


@pytest.mark.slow
def test_the_same_weights_give_the_same_graph(binary: Any, graphs: Graphs) -> None:
    assert to_onnx(binary.model) == graphs(TaskKind.BINARY)["onnx"]
    assert to_int8(graphs(TaskKind.BINARY)["onnx"]) == graphs(TaskKind.BINARY)["int8"]


def test_a_graph_does_not_tell_where_it_was_made(graphs: Graphs) -> None:
    for graph in graphs(TaskKind.BINARY).values():
        assert str(Path(backends.__file__).parents[2]).encode() not in graph
        assert b"site-packages" not in graph
        assert b"stack_trace" not in graph


def test_a_bundle_with_graphs_can_be_copied_and_replaced(bundle: Path, tmp_path: Path) -> None:
    copy_bundle(bundle, tmp_path / "copy", verify(bundle).version)
    assert {"model.onnx", "model.int8.onnx"} <= {path.name for path in (tmp_path / "copy").iterdir()}
    check_free(bundle, overwrite=True)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_damaged_graph_is_named_whatever_the_backend(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} does not match its SHA-256"):
        Predictor.load(bundle)


def test_a_graph_that_is_not_listed_is_refused(binary: Any, graphs: Graphs, tmp_path: Path) -> None:
    bundle = binary.write(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(graphs(TaskKind.BINARY)["onnx"])
    with pytest.raises(BundleError, match=r"model\.onnx is not listed in bundle\.json"):
        Predictor.load(bundle)


def test_a_bundle_without_the_graph_says_how_to_get_one(binary: Any, tmp_path: Path) -> None:
    bundle = binary.write(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"has no model\.int8\.onnx; `mlpipe export --int8` writes"):
        Predictor.load(bundle, "int8")
    assert Predictor.load(bundle, "auto").backend.name == "torch"


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x08\x07"])
def test_what_is_no_graph_is_refused(binary: Any, content: bytes, tmp_path: Path) -> None:
    bundle = binary.write(tmp_path / "bundle", graphs={"onnx": content})
    with pytest.raises(BundleError, match=r"model\.onnx cannot be used \(ONNX Runtime cannot load it"):
        Predictor.load(bundle, "onnx")
    assert Predictor.load(bundle, "torch").predict(binary.frame).height == 300
    chosen = Predictor.load(bundle, "auto").backend
    assert (chosen.name, "cannot be used" in chosen.reason) == ("torch", True)


def test_a_graph_of_another_table_is_refused(binary: Any, graphs: Graphs) -> None:
    spec = binary.preprocessor.input_spec_
    wider = Transformer(binary.model.config, type(spec)(spec.numeric[1:], spec.categorical, spec.num_outputs))
    with pytest.raises(ValueError, match=r"it has .*, but the network has"):
        OnnxNetwork(graphs(TaskKind.BINARY)["onnx"], wider)


def test_a_graph_of_other_weights_is_refused(binary: Any, graphs: Graphs, tmp_path: Path) -> None:
    model = Transformer(binary.model.config, binary.model.spec).eval()
    bundle = binary.write(tmp_path / "bundle", model=model, graphs=graphs(TaskKind.BINARY))
    for name in ("onnx", "int8"):
        with pytest.raises(BundleError, match=r"onnx gives other answers than the weights \(by 0\.\d+\)"):
            Predictor.load(bundle, name)


def test_without_onnx_runtime_it_is_said_what_to_install(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError, match=r"model\.onnx needs ONNX Runtime: `pip install 'mlpipe\[onnx\]'`"):
        Predictor.load(bundle, "onnx")
    chosen = Predictor.load(bundle, "auto").backend
    assert chosen.name == "torch"
    assert "pip install 'mlpipe[onnx]'" in chosen.reason


def test_an_ensemble_runs_all_its_members_alike(
    fitted: Callable[..., Any], graphs: Graphs, binary: Any, tmp_path: Path
) -> None:
    members = [read_bundle(binary.write(tmp_path / str(t), calibration=Calibration(t))) for t in (1.0, 3.0)]
    described: dict[str, Any] = {"statistics": members[-1].statistics, "metrics": {}, "model_card": "# Two\n"}
    both = write_ensemble(tmp_path / "both", members, **described, graphs=[graphs(TaskKind.BINARY)] * 2)
    assert (both / "members" / "1" / "model.int8.onnx").is_file()
    check_free(both, overwrite=True)
    expected, found, chosen = (Predictor.load(both, name) for name in ("torch", "onnx", "auto"))
    assert "1 row: torch" in chosen.backend.reason
    wanted = expected.predict(binary.frame)["confidence"]
    np.testing.assert_allclose(found.predict(binary.frame)["confidence"], wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(chosen.predict(binary.frame)["confidence"], wanted, rtol=0, atol=1e-5)

    one = write_ensemble(tmp_path / "one", members, **described, graphs=[graphs(TaskKind.BINARY), {}])
    with pytest.raises(BundleError, match=r"members/1' has no model\.onnx"):
        Predictor.load(one, "onnx")
    assert Predictor.load(one, "auto").backend.name == "torch"


class Clocked:
    """A network whose time is made up: a constant for each batch and something for each row."""

    def __init__(self, clock: list[float], batch: float, row: float) -> None:
        self.clock, self.batch, self.row = clock, batch, row

    def __call__(self, arrays: Arrays) -> Tensor:
        self.clock[0] += self.batch + self.row * len(arrays)
        return torch.full((len(arrays), 1, 1), self.batch)


def test_each_size_goes_to_what_was_fastest_for_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = read_contents(bundle)
    assert isinstance(contents, BundleContents)
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    slow, quick = Clocked(clock, batch=30.0, row=1.0), Clocked(clock, batch=1.0, row=2.0)
    monkeypatch.setattr(backends, "_in_torch", lambda models: Backend("torch", (slow,)))
    monkeypatch.setattr(backends, "_graph", lambda model, name: quick)
    chosen = open_backend([contents], "auto")
    assert chosen.name == "onnx+torch"
    assert chosen.reason.startswith("Backend onnx+torch; measured: 1 row: torch 31000.00 ms, onnx 3000.00 ms; 8 rows:")
    (network,) = chosen.networks
    for rows, expected in ((0, quick), (1, quick), (8, quick), (63, quick), (64, slow), (512, slow), (5_000, slow)):
        arrays = Arrays(np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.bool_), np.zeros((rows, 0), np.int32))
        assert (network(arrays) == expected.batch).all(), rows


def test_sizes_are_told_apart_at_their_lower_end() -> None:
    networks = [Clocked([0.0], batch=float(size), row=0.0) for size in SIZES]
    choose = BySize(networks)
    for rows in (1, 7, 8, 9, 64, 511, 512, 4_096):
        arrays = Arrays(np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.bool_), np.zeros((rows, 0), np.int32))
        assert choose(arrays)[0].item() == max(size for size in SIZES if size <= rows)
