from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mlpipe.errors import DataError
from mlpipe.models import Transformer, TransformerConfig, member_loss
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature, TaskKind

Inputs = tuple[Tensor, Tensor, Tensor]
SMALL = TransformerConfig(width=16, num_heads=2, readout_tokens=3, readout="all", rope="index", dropout=0.0)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def variant(**changes: object) -> TransformerConfig:
    return TransformerConfig.from_dict({**SMALL.to_dict(), **changes})


def randomise(model: Transformer, seed: int = 0) -> Transformer:
    """Every parameter at random, those too that start at 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return model


@pytest.mark.parametrize("rope", ["none", "index"])
@pytest.mark.parametrize("readout", ["all", "last"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_shape_of_the_logits(
    spec: InputSpec, make_inputs: Callable[[int], Inputs], rope: str, readout: str, num_layers: int
) -> None:
    model = Transformer(variant(rope=rope, readout=readout, num_layers=num_layers), spec)
    assert model(*make_inputs(5)).shape == (5, 3, 2)
    assert model(*make_inputs(0)).shape == (0, 3, 2)


def test_only_numbers_or_only_categories() -> None:
    numbers = InputSpec((NumericFeature("x", "x"),), (), 1)
    logits = Transformer(SMALL, numbers)(
        torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool), torch.zeros(2, 0, dtype=torch.int32)
    )
    assert logits.shape == (2, 3, 1)
    categories = InputSpec((), (CategoricalFeature("c", "c", 4),), 1)
    logits = Transformer(SMALL, categories)(
        torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), torch.ones(2, 1, dtype=torch.int32)
    )
    assert logits.shape == (2, 3, 1)


def test_no_column_at_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"^The table has no column to learn from; at least one"):
        Transformer(SMALL, InputSpec((), (), 1))


def test_readout_tokens_are_exchangeable_and_columns_are_not(
    spec: InputSpec, make_inputs: Callable[[int], Inputs]
) -> None:
    """All readout tokens stand at position 0: swap two of them, and their heads, and the logits are swapped."""
    model = randomise(Transformer(variant(rope="index"), spec)).double().eval()
    numeric, missing, categorical = make_inputs(4)
    before = model(numeric.double(), missing, categorical)
    order = [2, 0, 1]
    with torch.no_grad():
        for parameter in (model.readout.weight, *model.head.parameters()):
            parameter.copy_(parameter[order].clone())
    torch.testing.assert_close(model(numeric.double(), missing, categorical), before[:, order])


def test_rope_makes_the_order_of_columns_matter(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    numeric, missing, categorical = make_inputs(4)
    swapped = InputSpec(spec.numeric, (*reversed(spec.categorical),), spec.num_outputs)
    differences = {}
    for rope in ("none", "index"):
        model = randomise(Transformer(variant(rope=rope, additive=True), spec)).eval()
        other = randomise(Transformer(variant(rope=rope, additive=True), swapped)).eval()
        assert model.tokenizer.categorical is not None
        assert other.tokenizer.categorical is not None
        weights = model.state_dict()
        table, bias = weights["tokenizer.categorical.table.weight"], weights["tokenizer.categorical.bias"]
        first, second = table.split([feature.cardinality for feature in spec.categorical])
        weights["tokenizer.categorical.table.weight"] = torch.cat((second, first))
        weights["tokenizer.categorical.bias"] = bias.flip(0)
        alone = weights["additive.weight"]
        weights["additive.weight"] = torch.cat((alone[:-2], alone[-2:].flip(0)))
        other.load_state_dict(weights)
        difference = model(numeric, missing, categorical) - other(numeric, missing, categorical.flip(1))
        differences[rope] = float(difference.detach().abs().max())
    assert differences["none"] < 1e-5
    assert differences["index"] > 1e-3


def test_buffers_stay_out_of_the_checkpoint(spec: InputSpec) -> None:
    model = Transformer(variant(rope="index"), spec)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert {name for name, _ in model.named_buffers()} >= {"cos", "sin"}
    assert model.cos.dtype is torch.float32


@pytest.mark.parametrize("rope", ["none", "index"])
def test_all_in_bfloat16(spec: InputSpec, make_inputs: Callable[[int], Inputs], rope: str) -> None:
    """Weights, buffers and numbers, as Lightning's `bf16-true` has it."""
    numeric, missing, categorical = make_inputs(4)
    model = randomise(Transformer(variant(rope=rope, additive=True), spec)).eval()
    precise = model(numeric, missing, categorical)
    coarse = model.bfloat16()(numeric.bfloat16(), missing, categorical)
    assert coarse.dtype is torch.bfloat16
    torch.testing.assert_close(coarse.float(), precise, atol=0.1 * float(precise.detach().abs().max()), rtol=0)


def test_dropout_acts_while_training_only(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    model = randomise(Transformer(variant(dropout=0.5), spec))
    inputs = make_inputs(4)
    torch.manual_seed(0)
    assert not torch.equal(model.train()(*inputs), model(*inputs))
    assert torch.equal(model.eval()(*inputs), model(*inputs))


def test_it_learns(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """Eighty steps on a rule that needs a number and a category together."""
    torch.manual_seed(0)
    numeric, missing, categorical = make_inputs(128)
    target = ((numeric[:, 0] > 0) ^ (categorical[:, 0] > 2)).long()
    model = Transformer(SMALL, InputSpec(spec.numeric, spec.categorical, num_outputs=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = member_loss(model(numeric, missing, categorical), target, TaskKind.BINARY)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.35  # 0.69 is guessing


@pytest.mark.parametrize(
    ("embedding", "rope", "readout", "head"),
    [
        ("ple", "index", "all", "linear"),
        ("plr", "none", "last", "members"),
        pytest.param("linear", "index", "last", "linear", marks=pytest.mark.slow),
        pytest.param("periodic", "none", "all", "members", marks=pytest.mark.slow),
        pytest.param("pbld", "index", "all", "members", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("fresh_compiler")
def test_no_graph_breaks(
    spec: InputSpec, make_inputs: Callable[[int], Inputs], embedding: str, rope: str, readout: str, head: str
) -> None:
    """Training and evaluation, each with batches of two sizes; `fullgraph` raises at a break."""
    config = variant(numeric_embedding=embedding, rope=rope, readout=readout, head=head, dropout=0.1, members=4)
    model = randomise(Transformer(config, spec))
    names = list(model.state_dict())
    plain = randomise(Transformer(config, spec))
    model.compile(fullgraph=True, backend="eager")
    assert list(model.state_dict()) == names
    for training in (True, False):
        model.train(training)
        plain.train(training)
        for rows in (8, 5):
            torch.manual_seed(rows)
            compiled = model(*make_inputs(rows))
            torch.manual_seed(rows)
            torch.testing.assert_close(compiled, plain(*make_inputs(rows)), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch's own, once, on import
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_training_matches_eager_training(
    spec: InputSpec, make_inputs: Callable[[int], Inputs], precision: torch.dtype
) -> None:
    """Values, gradients and dropout masks, with the real compiler; a last, smaller batch too."""
    config = variant(rope="index", dropout=0.25)
    compiled, plain = randomise(Transformer(config, spec)), randomise(Transformer(config, spec))
    compiled.compile(fullgraph=True)
    tolerance = 1e-4 if precision is torch.float32 else 0.1
    for rows in (8, 5):
        for model in (compiled, plain):
            torch.manual_seed(rows)
            model.zero_grad()
            with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
                model(*make_inputs(rows)).float().square().mean().backward()
        for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            scale = float(theirs.grad.abs().max())
            torch.testing.assert_close(ours.grad, theirs.grad, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("rope", ["none", "index"])
def test_export_keeps_the_batch_size_open(spec: InputSpec, make_inputs: Callable[[int], Inputs], rope: str) -> None:
    """`torch.export`, which ONNX starts from: one graph for any number of rows, with the attention as one operator."""
    model = randomise(Transformer(variant(rope=rope, additive=True), spec)).eval()
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(model, make_inputs(4), dynamic_shapes=({0: rows}, {0: rows}, {0: rows}))
    for count in (1, 9):
        torch.testing.assert_close(program.module()(*make_inputs(count)), model(*make_inputs(count)), atol=1e-5, rtol=0)
    operators = {str(node.target) for node in program.graph.nodes}
    assert any("scaled_dot_product_attention" in operator for operator in operators)
