import itertools

import pytest
import torch
from torch import nn

from mlpipe.models import Transformer, TransformerConfig, parameter_groups
from mlpipe.models.init import initialise
from mlpipe.schema import InputSpec

COMBINATIONS = list(itertools.product(("linear", "ple", "periodic", "plr", "pbld"), ("linear", "members")))


def make(spec: InputSpec, embedding: str = "ple", head: str = "linear", width: int = 16) -> Transformer:
    config = TransformerConfig(width=width, num_heads=2, numeric_embedding=embedding, head=head, additive=True)
    return Transformer(config, spec)


@pytest.mark.parametrize(("embedding", "head"), COMBINATIONS)
def test_every_parameter_is_in_one_group(spec: InputSpec, embedding: str, head: str) -> None:
    model = make(spec, embedding, head)
    groups = parameter_groups(model, weight_decay=0.1)
    assert [group["name"] for group in groups] == ["matrices", "decay", "no_decay"]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.0]
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    named = dict(model.named_parameters())
    for group in groups:
        assert all(
            named[name] is parameter for name, parameter in zip(group["param_names"], group["params"], strict=True)
        )


@pytest.mark.parametrize(("embedding", "head"), COMBINATIONS)
def test_what_is_decayed(spec: InputSpec, embedding: str, head: str) -> None:
    matrices, decay, no_decay = (set(group["param_names"]) for group in parameter_groups(make(spec, embedding, head)))
    assert matrices == {
        f"blocks.{block}.{name}.weight"
        for block in (0, 1)
        for name in (
            "attention.query",
            "attention.key",
            "attention.value",
            "attention.out",
            "mlp.up",
            "mlp.down",
        )
    }
    heads = {"additive.weight"} | ({"head.weight"} if head == "linear" else {"head.shared.weight", "head.out.weight"})
    assert decay == heads | (set() if embedding == "linear" else {"tokenizer.numeric.weight"})
    words = ("bias", "slope", "missing", "frequencies", "phases", "table", "scale", "readout", "groups")
    assert all(any(word in name for word in words) for name in no_decay)


def test_frozen_parameters_are_left_out(spec: InputSpec) -> None:
    model = make(spec)
    model.blocks[0].requires_grad_(False)
    names = {name for group in parameter_groups(model) for name in group["param_names"]}
    assert not any(name.startswith("blocks.0.") for name in names)
    assert any(name.startswith("blocks.1.") for name in names)


def test_groups_are_what_torch_s_optimisers_take(spec: InputSpec) -> None:
    model = make(spec)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.1), lr=1e-3)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize(("embedding", "head"), COMBINATIONS)
def test_initialisation_sets_every_parameter(spec: InputSpec, embedding: str, head: str) -> None:
    """Whatever stood there before: nothing is left to a constructor's default."""
    model = make(spec, embedding, head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    initialise(model, model.config)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_initialisation_is_repeatable(spec: InputSpec) -> None:
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(make(spec).state_dict())
    first, again, other = models
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.mlp.up.weight"], other["blocks.0.mlp.up.weight"])


def test_spread_at_the_start(spec: InputSpec) -> None:
    torch.manual_seed(0)
    model = make(spec, embedding="plr", head="members", width=64)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            assert 0.9 * bound < float(module.weight.detach().abs().max()) <= bound
            assert float(module.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert model.readout.weight.abs().max() <= 64**-0.5
    assert model.tokenizer.numeric is not None
    frequencies = dict(model.tokenizer.numeric.named_parameters())["encoding.frequencies"]
    assert frequencies.detach().abs().max() <= 3 * 0.01
    assert float(frequencies.detach().std()) == pytest.approx(0.01, rel=0.25)
