"""Whatever the columns are: finite logits of the right shape, a gradient for every weight, rows that don't meet."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlpipe.models import Transformer, TransformerConfig, member_loss
from mlpipe.schema import FIRST_CATEGORY_ID, CategoricalFeature, InputSpec, NumericFeature, TaskKind

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
ROWS = 6

edges = st.lists(st.floats(-3, 3, width=16), min_size=2, max_size=6, unique=True).map(
    lambda values: tuple(sorted(values))
)


@st.composite
def input_specs(draw: st.DrawFn) -> InputSpec:
    numeric = tuple(
        NumericFeature(f"n{i}", f"n{i}", group=group, bins=() if group else bins)
        for i, (group, bins) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from([None, None, "a", "b"]), st.just(()) | edges), max_size=6))
        )
    )
    cardinalities = draw(st.lists(st.integers(FIRST_CATEGORY_ID, 9), min_size=0 if numeric else 1, max_size=4))
    categorical = tuple(CategoricalFeature(f"c{i}", f"c{i}", size) for i, size in enumerate(cardinalities))
    return InputSpec(numeric, categorical, draw(st.integers(1, 4)))


configs = st.builds(
    TransformerConfig,
    width=st.just(8),
    num_heads=st.sampled_from([1, 2, 4]),
    num_layers=st.integers(1, 3),
    gate=st.sampled_from(["swiglu", "geglu", "reglu"]),
    numeric_embedding=st.sampled_from(["linear", "ple", "periodic", "plr", "pbld"]),
    num_frequencies=st.just(4),
    frequency_scale=st.just(0.3),
    rope=st.sampled_from(["none", "index"]),
    readout_tokens=st.integers(1, 4),
    readout=st.sampled_from(["all", "last"]),
    head=st.sampled_from(["linear", "members"]),
    members=st.integers(1, 4),
    member_width=st.just(8),
    dropout=st.just(0.0),
    qk_norm=st.booleans(),
    first_norm=st.booleans(),
    additive=st.booleans(),
)


def rows_for(spec: InputSpec, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random rows; every number is missing somewhere and present somewhere."""
    generator = torch.Generator().manual_seed(seed)
    numeric = torch.randn(ROWS, len(spec.numeric), generator=generator)
    missing = torch.rand(ROWS, len(spec.numeric), generator=generator) < 0.3
    missing[0], missing[1] = True, False
    ids = [torch.randint(feature.cardinality, (ROWS, 1), generator=generator) for feature in spec.categorical]
    categorical = torch.cat(ids, dim=1).int() if ids else torch.zeros(ROWS, 0, dtype=torch.int32)
    return numeric.masked_fill(missing, 0), missing, categorical


def model_for(config: TransformerConfig, spec: InputSpec, seed: int) -> Transformer:
    """With every weight at random, those too that start at 0."""
    model = Transformer(config, spec)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return model


@QUICK
@given(config=configs, spec=input_specs(), seed=st.integers(0, 99))
def test_logits_are_finite_and_every_weight_gets_a_gradient(
    config: TransformerConfig, spec: InputSpec, seed: int
) -> None:
    model = model_for(config, spec, seed)
    logits = model(*rows_for(spec, seed))
    assert logits.shape == (ROWS, config.num_members, spec.num_outputs)
    assert logits.isfinite().all()
    torch.autograd.backward(member_loss(logits, torch.ones(ROWS, spec.num_outputs), TaskKind.MULTILABEL))
    # With one token to attend to, its weight is 1 whatever the query and the key are.
    alone = config.readout == "last" and model.tokenizer.num_tokens == 1
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        blind = alone and (".query." in name or ".key." in name)
        assert blind or parameter.grad.any(), name


@QUICK
@given(config=configs, spec=input_specs(), seed=st.integers(0, 99), data=st.data())
def test_a_row_s_logits_do_not_depend_on_the_other_rows(
    config: TransformerConfig, spec: InputSpec, seed: int, data: st.DataObject
) -> None:
    model = model_for(config, spec, seed).eval()
    inputs = rows_for(spec, seed)
    chosen = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS))
    with torch.no_grad():
        together = model(*inputs)
        apart = model(*(values[chosen] for values in inputs))
    scale = max(1.0, float(together.abs().max()))
    torch.testing.assert_close(apart / scale, together[chosen] / scale, atol=1e-6, rtol=0)


@QUICK
@given(config=configs, spec=input_specs(), seed=st.integers(0, 99))
def test_a_model_built_again_from_its_records_gives_the_same_logits(
    config: TransformerConfig, spec: InputSpec, seed: int
) -> None:
    model = model_for(config, spec, seed).eval()
    again = Transformer(TransformerConfig.from_dict(config.to_dict()), InputSpec.from_dict(spec.to_dict())).eval()
    again.load_state_dict(model.state_dict())
    inputs = rows_for(spec, seed)
    with torch.no_grad():
        assert torch.equal(model(*inputs), again(*inputs))
