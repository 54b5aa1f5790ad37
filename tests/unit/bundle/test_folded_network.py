"""The folded network and its graph give the logits of the trained one, whatever the config and the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.arrays import Arrays
from mlpipe.bundle import folded_network, lookup
from mlpipe.bundle.folded_graph import FoldedGraph
from mlpipe.bundle.folded_network import FoldedNetwork
from mlpipe.bundle.folding import can_fold
from mlpipe.bundle.network import TorchNetwork
from mlpipe.bundle.parity import made_up_rows
from mlpipe.models import TableModel, Transformer, TransformerConfig, build_model
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature

BINS = ((), (-1.0, 1.0), (-2.0, -0.5, 0.25, 0.75), (-1.0, 0.0, 0.0, 1e-9, 3.0), tuple(np.linspace(-3, 3, 40)))


def spec_of(numbers: list[int], cardinalities: list[int], outputs: int = 2, grouped: int = 0) -> InputSpec:
    numeric = [NumericFeature(f"n{place}", f"n{place}", bins=BINS[which]) for place, which in enumerate(numbers)]
    numeric[1:1] = [NumericFeature(f"g{place}", "g", group="g") for place in range(grouped)]
    categorical = [CategoricalFeature(f"c{place}", f"c{place}", size) for place, size in enumerate(cardinalities)]
    return InputSpec(tuple(numeric), tuple(categorical), outputs)


def made(config: TransformerConfig, spec: InputSpec, seed: int = 0, std: float = 0.2) -> TableModel:
    """A model whose weights are all random: at the start some are 0."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build_model(config, spec).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.normal_(std=std)
    return model


def exact(model: TableModel, rows: Arrays) -> torch.Tensor:
    """The trained network in float64, operator for operator."""
    double = build_model(model.config, model.spec).double().eval()
    double.load_state_dict(model.state_dict())
    for (_, ours), (_, theirs) in zip(double.named_buffers(), model.named_buffers(), strict=True):
        ours.copy_(theirs)
    with torch.inference_mode():
        logits: torch.Tensor = double(
            torch.from_numpy(rows.numeric).double(), torch.from_numpy(rows.missing), torch.from_numpy(rows.categorical)
        )
    return logits


def in_plain_operators(model: TableModel, rows: Arrays) -> torch.Tensor:
    """What is exported, run by torch."""
    with torch.inference_mode():
        logits: torch.Tensor = FoldedGraph(model)(
            torch.from_numpy(rows.numeric), torch.from_numpy(rows.missing), torch.from_numpy(rows.categorical)
        )
    return logits


CONFIGS = st.fixed_dictionaries(
    {
        "width": st.sampled_from([8, 24, 32]),
        "num_heads": st.sampled_from([1, 2, 4]),
        "num_layers": st.integers(1, 3),
        "gate": st.sampled_from(["swiglu", "geglu", "reglu"]),
        "numeric_embedding": st.sampled_from(["linear", "ple", "periodic", "plr", "pbld"]),
        "rope": st.sampled_from(["none", "index"]),
        "readout_tokens": st.integers(1, 5),
        "head": st.sampled_from(["linear", "members"]),
        "ensemble": st.integers(1, 2),
        "first_norm": st.booleans(),
        "additive": st.booleans(),
    }
)
SPECS = st.builds(
    spec_of,
    st.lists(st.integers(0, len(BINS) - 1), min_size=1, max_size=4),
    st.lists(st.integers(4, 9), max_size=3),
    st.integers(1, 3),
    st.integers(0, 2),
)


@settings(deadline=None)
@given(changes=CONFIGS, spec=SPECS, rows=st.integers(0, 5), seed=st.integers(0, 9))
def test_any_config_gives_the_same_logits(changes: dict[str, Any], spec: InputSpec, rows: int, seed: int) -> None:
    model = made(TransformerConfig(num_frequencies=3, members=3, member_width=16, **changes), spec, seed)
    assert can_fold(model)
    batch = made_up_rows(spec, rows)
    expected = TorchNetwork(model)(batch)
    for found in (FoldedNetwork(model)(batch), in_plain_operators(model, batch)):
        assert found.shape == (rows, model.config.num_members, spec.num_outputs)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 27])
@pytest.mark.parametrize("rows", [1, 2, 64, 300])
def test_the_default_config_is_as_near_the_truth_as_the_trained_network(columns: int, rows: int) -> None:
    spec = spec_of([place % len(BINS) for place in range(columns)], [5] * (columns // 3))
    model = made(TransformerConfig(trunk="transformer", additive=True), spec, std=0.1)
    batch = made_up_rows(spec, rows)
    truth = exact(model, batch)
    trained = (TorchNetwork(model)(batch) - truth).abs().max()
    for logits in (FoldedNetwork(model)(batch), in_plain_operators(model, batch)):
        found = (logits - truth).abs().max()
        assert found < 1e-5
        assert found < 2 * trained + 1e-6


@settings(deadline=None)
@given(data=st.data())
def test_any_rows_give_the_same_logits(data: st.DataObject) -> None:
    spec = spec_of([0, 1, 2, 3, 4], [4, 6])
    model = made(TransformerConfig(width=16, readout_tokens=3), spec)
    rows = data.draw(st.integers(1, 4))
    edges = st.sampled_from(sorted({edge for bins in BINS for edge in bins}))
    numbers = st.floats(-50, 50, width=32) | edges
    numeric = np.array(data.draw(st.lists(st.tuples(*[numbers] * 5), min_size=rows, max_size=rows)), np.float32)
    missing = np.array(data.draw(st.lists(st.tuples(*[st.booleans()] * 5), min_size=rows, max_size=rows)))
    # Ids outside of a vocabulary too: the network reads them as values that it has not seen.
    ids = np.array(data.draw(st.lists(st.tuples(*[st.integers(-3, 9)] * 2), min_size=rows, max_size=rows)), np.int32)
    arrays = Arrays(np.where(missing, np.float32(0), numeric), missing, ids)
    before = arrays.numeric.copy(), arrays.missing.copy(), arrays.categorical.copy()
    expected = TorchNetwork(model)(arrays)
    torch.testing.assert_close(FoldedNetwork(model)(arrays), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(in_plain_operators(model, arrays), expected, atol=1e-4, rtol=1e-3)
    for part, was in zip((arrays.numeric, arrays.missing, arrays.categorical), before, strict=True):
        np.testing.assert_array_equal(part, was)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_large_scores_are_no_harm(layers: int) -> None:
    """Without a look at the largest, powers of 2 of these scores would be infinite or all 0."""
    spec = spec_of([0, 0, 4], [5, 5])
    model = made(TransformerConfig(width=16, num_layers=layers, readout_tokens=3), spec, std=0.3)
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("attention.query.weight"):
                    parameter.copy_(sign * 200 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
        batch = made_up_rows(spec, 20)
        found = FoldedNetwork(model)(batch)
        assert found.isfinite().all()
        # A score of some thousands is rounded in its third or fourth place behind the point.
        difference = (found - exact(model, batch)).abs()
        assert difference.median() < 1e-3


def test_rows_beyond_a_pass_are_those_of_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of([0, 2, 4], [5])
    model = made(TransformerConfig(width=16, readout_tokens=3), spec)
    monkeypatch.setattr(folded_network, "MOST_ROWS", 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    batch = made_up_rows(spec, 10)
    torch.testing.assert_close(FoldedNetwork(model)(batch), TorchNetwork(model)(batch), atol=1e-5, rtol=1e-4)


def test_what_has_too_many_categories_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of([4], [9, 9])
    model = made(TransformerConfig(width=16, readout_tokens=3), spec)
    batch = made_up_rows(spec, 10)
    looked_up = FoldedNetwork(model)(batch)
    monkeypatch.setattr(lookup, "MOST_CATEGORIES", 17)
    assert isinstance(model, Transformer)
    assert not lookup.can_look_up(model.tokenizer)
    torch.testing.assert_close(FoldedNetwork(model)(batch), looked_up, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"readout": "all"}, {"qk_norm": True}, {"trunk": "mlp"}])
@pytest.mark.parametrize("ensemble", [1, 2])
def test_others_are_left_to_torch(changes: dict[str, Any], ensemble: int) -> None:
    config = TransformerConfig(**{"trunk": "transformer", "ensemble": ensemble, **changes})
    assert not can_fold(made(config, spec_of([0], [5])))
