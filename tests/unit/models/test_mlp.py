from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlpipe.errors import DataError
from mlpipe.models import MLP, TransformerConfig, member_loss
from mlpipe.models.init import initialise
from mlpipe.models.members import MemberLinear
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature, TaskKind

Inputs = tuple[Tensor, Tensor, Tensor]
SMALL = TransformerConfig(trunk="mlp", width=8, members=3, member_width=16, dropout=0.0)


def variant(**changes: object) -> TransformerConfig:
    return TransformerConfig.from_dict({**SMALL.to_dict(), **changes})


@pytest.mark.parametrize("num_layers", [1, 3])
def test_shape_of_the_logits(spec: InputSpec, make_inputs: Callable[[int], Inputs], num_layers: int) -> None:
    model = MLP(variant(num_layers=num_layers), spec)
    assert model(*make_inputs(5)).shape == (5, 3, 2)
    assert model(*make_inputs(0)).shape == (0, 3, 2)


def test_only_categories_and_no_column_at_all() -> None:
    categories = InputSpec((), (CategoricalFeature("c", "c", 4),), 1)
    ids = torch.ones(2, 1, dtype=torch.int32)
    assert MLP(SMALL, categories)(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), ids).shape == (2, 3, 1)
    with pytest.raises(DataError, match=r"^The table has no column to learn from"):
        MLP(SMALL, InputSpec((), (), 1))


def test_it_is_k_plain_networks(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """Each member by itself, with `linear` and nothing batched, gives its own logits."""
    torch.manual_seed(0)
    model = MLP(variant(num_layers=2, gate="reglu"), spec).double().eval()
    numeric, missing, categorical = make_inputs(4)
    logits = model(numeric.double(), missing, categorical)
    tokens = model.tokenizer(numeric.double(), missing, categorical)
    row = torch.cat(list(tokens), dim=-1)  # token after token
    for member in range(3):
        x = row
        for layer in model.layers:
            assert isinstance(layer, MemberLinear)
            x = torch.nn.functional.linear(x, layer.weight[member], layer.bias[member, 0]).relu()
        expected = x @ model.head.weight[member] + model.head.bias[member]
        torch.testing.assert_close(logits[:, member], expected)


def test_members_are_independent_behind_the_tokens(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """A member's logits move none of another's weights."""
    torch.manual_seed(0)
    model = MLP(SMALL, spec)
    model(*make_inputs(4))[:, 1].sum().backward()
    for layer in model.layers:
        assert isinstance(layer, MemberLinear)
        assert layer.weight.grad is not None
        assert layer.weight.grad[1].any()
        assert not layer.weight.grad[[0, 2]].any()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_members_start_apart(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    torch.manual_seed(0)
    logits = MLP(SMALL, spec)(*make_inputs(4))
    assert float((logits[:, 0] - logits[:, 1]).detach().abs().min()) > 0


def test_initialisation_sets_every_parameter(spec: InputSpec) -> None:
    model = MLP(SMALL, spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    initialise(model, model.config)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_layer_keeps_the_size_of_what_passes_through() -> None:
    """With ReLU: He et al. 2015. Otherwise a short run is over before the layers are large enough."""
    torch.manual_seed(0)
    config = variant(gate="reglu", num_layers=4, member_width=256)
    model = MLP(config, InputSpec(tuple(NumericFeature(f"x{i}", f"x{i}") for i in range(32)), (), 1))
    x = before = torch.randn(1, 64, 256)
    for layer in model.layers:
        x = layer(x).relu()
    ratio = float((x.detach().square().mean() / before.square().mean()).sqrt())
    assert 0.5 < ratio < 2  # 0.03 with the bounds of `nn.Linear`


def test_dropout_acts_while_training_only(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    torch.manual_seed(0)
    model = MLP(variant(dropout=0.5), spec)
    inputs = make_inputs(4)
    assert not torch.equal(model.train()(*inputs), model(*inputs))
    assert torch.equal(model.eval()(*inputs), model(*inputs))


def test_all_in_bfloat16(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    torch.manual_seed(0)
    numeric, missing, categorical = make_inputs(4)
    model = MLP(SMALL, spec).eval()
    precise = model(numeric, missing, categorical)
    coarse = model.bfloat16()(numeric.bfloat16(), missing, categorical)
    assert coarse.dtype is torch.bfloat16
    torch.testing.assert_close(coarse.float(), precise, atol=0.1 * float(precise.detach().abs().max()), rtol=0)


def test_it_learns(make_inputs: Callable[[int], Inputs], spec: InputSpec) -> None:
    """Eighty steps on a rule that needs a number and a category together."""
    torch.manual_seed(0)
    numeric, missing, categorical = make_inputs(128)
    target = ((numeric[:, 0] > 0) ^ (categorical[:, 0] > 2)).long()
    model = MLP(SMALL, InputSpec(spec.numeric, spec.categorical, num_outputs=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = member_loss(model(numeric, missing, categorical), target, TaskKind.BINARY)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.35  # 0.69 is guessing


def test_no_graph_breaks(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    torch._dynamo.reset()
    model = MLP(variant(dropout=0.1), spec)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for training in (True, False):
        model.train(training)
        for rows in (8, 5):
            torch.manual_seed(rows)
            outputs = compiled(*make_inputs(rows))
            torch.manual_seed(rows)
            torch.testing.assert_close(outputs, model(*make_inputs(rows)), atol=1e-5, rtol=1e-5)
    torch._dynamo.reset()


def test_export_keeps_the_batch_size_open(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """`torch.export`, which ONNX starts from: one graph for any number of rows."""
    model = MLP(SMALL, spec).eval()
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(model, make_inputs(4), dynamic_shapes=({0: rows}, {0: rows}, {0: rows}))
    for count in (1, 9):
        torch.testing.assert_close(program.module()(*make_inputs(count)), model(*make_inputs(count)), atol=1e-5, rtol=0)


def test_a_width_that_heads_do_not_divide_is_no_mistake_here() -> None:
    assert TransformerConfig(trunk="mlp", width=10, num_heads=4, rope="index").num_members == 8


def test_group_of_numbers_is_one_token_here_too() -> None:
    spec = InputSpec(tuple(NumericFeature(f"t.{i}", "t", group="t") for i in range(5)), (), 1)
    first = MLP(SMALL, spec).layers[0]
    assert isinstance(first, MemberLinear)
    assert first.weight.shape == (3, 16, 8)
