from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mlpipe.models import MLP, Ensemble, Transformer, TransformerConfig, build_model, parameter_groups
from mlpipe.schema import InputSpec

Inputs = tuple[Tensor, Tensor, Tensor]
ALONE = {
    "transformer": TransformerConfig(trunk="transformer", width=16, num_heads=2, readout_tokens=3, dropout=0.0),
    "mlp": TransformerConfig(trunk="mlp", width=8, members=3, member_width=16, dropout=0.0),
}


def test_the_trunk_decides_on_the_model(spec: InputSpec) -> None:
    assert type(build_model(ALONE["transformer"], spec)) is Transformer
    assert type(build_model(ALONE["mlp"], spec)) is MLP
    assert type(build_model(replace(ALONE["mlp"], ensemble=2), spec)) is Ensemble


@pytest.mark.parametrize(
    ("outputs", "kind", "trunk", "width"), [(9, Transformer, "transformer", 16), (10, MLP, "mlp", 4)]
)
@pytest.mark.parametrize("ensemble", [1, 2])
def test_from_ten_outputs_on_auto_is_the_mlp(
    spec: InputSpec, outputs: int, kind: type, trunk: str, width: int, ensemble: int
) -> None:
    config = TransformerConfig(width=16, num_heads=2, ensemble=ensemble)
    model = build_model(config, replace(spec, num_outputs=outputs))
    assert (model.config.trunk, model.config.width, model.config.ensemble) == (trunk, width, ensemble)
    assert type(model.networks[0] if isinstance(model, Ensemble) else model) is kind
    assert build_model(model.config, model.spec).config == model.config  # what a bundle is built from
    asked = replace(config, trunk="transformer")
    assert build_model(asked, model.spec).config == asked


@pytest.mark.parametrize("trunk", ALONE)
def test_an_ensemble_is_its_networks(spec: InputSpec, make_inputs: Callable[[int], Inputs], trunk: str) -> None:
    """With the same draws it is the networks that would have been built one after another."""
    torch.manual_seed(0)
    ensemble = build_model(replace(ALONE[trunk], ensemble=2), spec).eval()
    torch.manual_seed(0)
    first, second = (build_model(ALONE[trunk], spec).eval() for _ in range(2))
    inputs = make_inputs(5)
    expected = torch.cat((first(*inputs), second(*inputs)), dim=1)
    assert ensemble.config.num_members == expected.shape[1] == 6
    torch.testing.assert_close(ensemble(*inputs), expected)
    assert not torch.equal(first(*inputs), second(*inputs))


def test_networks_of_an_ensemble_share_no_gradient(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    ensemble = build_model(replace(ALONE["transformer"], ensemble=2), spec)
    assert isinstance(ensemble, Ensemble)
    ensemble(*make_inputs(4))[:, :3].sum().backward()
    mine, theirs = (list(network.parameters()) for network in ensemble.networks)
    assert all(parameter.grad is not None for parameter in mine)
    assert not any(parameter.grad.any() for parameter in theirs if parameter.grad is not None)


@pytest.mark.parametrize("trunk", ALONE)
def test_an_ensemble_has_the_groups_of_its_networks(spec: InputSpec, trunk: str) -> None:
    alone = parameter_groups(build_model(ALONE[trunk], spec))
    together = parameter_groups(build_model(replace(ALONE[trunk], ensemble=2), spec))
    for one, both in zip(alone, together, strict=True):
        assert both["param_names"] == [f"networks.{i}.{name}" for i in range(2) for name in one["param_names"]]


def test_no_graph_breaks_in_an_ensemble(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    torch._dynamo.reset()
    model = build_model(replace(ALONE["transformer"], ensemble=2), spec)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*make_inputs(4)), model(*make_inputs(4)), atol=1e-5, rtol=1e-5)
    torch._dynamo.reset()
