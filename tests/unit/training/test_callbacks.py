"""Callbacks on their own; what they do in a run is in tests/integration/test_resume.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mlpipe.data.batches import Batch
from mlpipe.errors import TrainingError
from mlpipe.models import Transformer, TransformerConfig
from mlpipe.schema import InputSpec, NumericFeature
from mlpipe.training.callbacks import EMAWeights, StopOnNonFiniteLoss, first_non_finite

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


@pytest.mark.parametrize(("clip", "advised"), [(1.0, False), (0, True), (None, True)])
def test_to_clip_is_advised_only_where_nothing_is_clipped(clip: float | None, advised: bool) -> None:
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, **_how: decision),
        world_size=1,
        current_epoch=2,
        global_step=7,
        gradient_clip_val=clip,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.5}])],
    )
    module: Any = SimpleNamespace(device=torch.device("cpu"), get_submodule=lambda _name: net())
    callback = StopOnNonFiniteLoss()
    callback.on_train_batch_start(trainer, module, batch(), 0)
    with pytest.raises(TrainingError, match=r"nan in epoch 2, step 7, .* A lower `training\.lr`") as caught:
        callback.on_before_backward(trainer, module, torch.tensor(NAN))
    assert ("gradient_clip_val" in str(caught.value)) == advised


def test_the_average_forgets_the_random_start_and_then_decays() -> None:
    callback = EMAWeights(0.5)
    update = callback._kwargs["multi_avg_fn"]
    averages = [torch.zeros(1)]
    update(averages, [torch.ones(1)], torch.tensor(0))
    assert torch.allclose(averages[0], torch.tensor([0.9]))  # (1 + 0) / (10 + 0) of the start is left
    averages = [torch.zeros(1)]
    update(averages, [torch.ones(1)], torch.tensor(1000))
    assert torch.allclose(averages[0], torch.tensor([0.5]))
