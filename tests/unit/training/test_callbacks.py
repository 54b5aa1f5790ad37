"""Callbacks on their own; what they do in a run is in tests/integration/test_resume.py."""

import torch

from mlpipe.data.batches import Batch
from mlpipe.models import Transformer, TransformerConfig
from mlpipe.schema import InputSpec, NumericFeature
from mlpipe.training.callbacks import EMAWeights, Patience, first_non_finite

NAN = float("nan")


def net() -> Transformer:
    torch.manual_seed(0)
    spec = InputSpec((NumericFeature("x", "x"),), (), 1)
    return Transformer(TransformerConfig(width=16, num_heads=2, num_layers=2), spec)


def batch(value: float = 1.0) -> Batch:
    return Batch(
        torch.full((4, 1), value),
        torch.zeros(4, 1, dtype=torch.bool),
        torch.zeros(4, 0, dtype=torch.int32),
        torch.ones(4),
    )


def test_the_first_cause_is_named_before_its_consequences() -> None:
    model = net()
    assert first_non_finite(model, batch(NAN)) == "the batch's numeric values are not finite"
    model.get_parameter("blocks.1.mlp.up.weight").data.mul_(1e30)
    assert "blocks.1.mlp" in first_non_finite(model, batch())
    model.get_parameter("blocks.0.attention.out.weight").data[0, 0] = NAN
    assert first_non_finite(model, batch()) == "the weights 'blocks.0.attention.out.weight' are not finite"


def test_a_finite_network_is_told_from_a_loss_that_overflowed() -> None:
    assert first_non_finite(net(), batch()) == "the loss alone overflowed"


def test_the_average_forgets_the_random_start_and_then_decays() -> None:
    callback = EMAWeights(0.5)
    update = callback._kwargs["multi_avg_fn"]
    averages = [torch.zeros(1)]
    update(averages, [torch.ones(1)], torch.tensor(0))
    assert torch.allclose(averages[0], torch.tensor([0.9]))  # (1 + 0) / (10 + 0) of the start is left
    averages = [torch.zeros(1)]
    update(averages, [torch.ones(1)], torch.tensor(1000))
    assert torch.allclose(averages[0], torch.tensor([0.5]))


def test_patience_is_the_configs_also_after_a_resume() -> None:
    old = Patience(monitor="val/rmse", patience=2)
    new = Patience(monitor="val/rmse", patience=50)
    new.load_state_dict({**old.state_dict(), "wait_count": 1})
    assert new.patience == 50
    assert new.wait_count == 1
