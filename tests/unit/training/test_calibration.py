import numpy as np
import pytest
import torch
from torch import Tensor

from mlpipe.models.heads import member_average
from mlpipe.schema import TaskKind
from mlpipe.training.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, fit_temperature
from mlpipe.training.metrics import compute_metrics, mean_log_loss

ROWS, MEMBERS = 4000, 3


def sample(kind: TaskKind, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Honest logits (all members agree) and targets drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 1 if kind is TaskKind.BINARY else 3
    logits_TO = 2 * torch.randn(ROWS, outputs, generator=generator)
    if kind is TaskKind.MULTICLASS:
        target = torch.multinomial(logits_TO.softmax(-1), 1, generator=generator)[:, 0]
    else:
        target = (torch.rand(ROWS, outputs, generator=generator) < logits_TO.sigmoid()).float()
    if kind is TaskKind.BINARY:
        target = target[:, 0].long()
    return logits_TO[:, None].expand(-1, MEMBERS, -1), target


CLASSIFICATIONS = [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL]


@pytest.mark.parametrize("kind", CLASSIFICATIONS)
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_factor_that_spoiled_the_logits_is_found(kind: TaskKind, factor: float) -> None:
    logits, target = sample(kind)
    temperature = fit_temperature(factor * logits, target, kind)
    assert temperature == pytest.approx(factor, rel=0.08)
    if factor == 3.0:
        before = compute_metrics(kind, member_average(factor * logits, kind), target)
        after = compute_metrics(kind, member_average(factor * logits, kind, temperature), target)
        assert after["calibration_error"] < before["calibration_error"] / 3
        assert after["accuracy"] == before["accuracy"]


@pytest.mark.parametrize("kind", CLASSIFICATIONS)
def test_it_is_the_best_of_a_fine_grid_for_members_that_disagree(kind: TaskKind) -> None:
    logits, target = sample(kind)
    logits = 2 * logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    temperature = fit_temperature(logits, target, kind)
    grid = np.exp(np.linspace(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE), 300))
    best = min(mean_log_loss(kind, member_average(logits, kind, float(t)), target) for t in grid)
    assert mean_log_loss(kind, member_average(logits, kind, temperature), target) <= best + 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_validation_loss_never_gets_worse(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(7, 2, 1, generator=generator) * 10
    target = torch.randint(0, 2, (7,), generator=generator)
    temperature = fit_temperature(logits, target, TaskKind.BINARY)
    losses = [
        mean_log_loss(TaskKind.BINARY, member_average(logits, TaskKind.BINARY, t), target) for t in (1.0, temperature)
    ]
    assert losses[1] <= losses[0]


def test_weights_count() -> None:
    logits, target = sample(TaskKind.BINARY)
    half = ROWS // 2
    spoiled = torch.cat([logits[:half], 4 * logits[half:]])
    weight = torch.cat([torch.zeros(half), torch.ones(half)])
    alone = fit_temperature(spoiled[half:], target[half:], TaskKind.BINARY)
    assert alone > 3
    assert fit_temperature(spoiled, target, TaskKind.BINARY, weight) == pytest.approx(alone, rel=0.01)


@pytest.mark.parametrize("rows", [2, 98])
@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTILABEL])
def test_no_mistakes_do_not_mean_no_doubt(rows: int, kind: TaskKind) -> None:
    """Of n rows that are all right the next is too by Laplace's rule of succession: with (n + 1) / (n + 2)."""
    target = torch.arange(rows) % 2
    logits = (6.0 * target - 3).reshape(rows, 1, 1)
    temperature = fit_temperature(logits, target if kind is TaskKind.BINARY else target.unsqueeze(1), kind)
    sure = member_average(logits, kind, temperature)[target == 1]
    torch.testing.assert_close(sure, torch.full_like(sure, (rows + 1) / (rows + 2)), atol=1e-3, rtol=0)


def test_no_mistakes_among_many_classes() -> None:
    rows, classes = 98, 5
    target = torch.arange(rows) % classes
    logits = 4.0 * torch.nn.functional.one_hot(target, classes).float().unsqueeze(1)
    temperature = fit_temperature(logits, target, TaskKind.MULTICLASS)
    sure = member_average(logits, TaskKind.MULTICLASS, temperature).max(1).values
    torch.testing.assert_close(sure, torch.full_like(sure, (rows + 2 / classes) / (rows + 2)), atol=1e-3, rtol=0)


def test_rows_of_weight_0_do_not_count_among_the_rows() -> None:
    logits = torch.tensor([-3.0, 3.0, 9.0, -9.0]).reshape(4, 1, 1)
    weighted = fit_temperature(logits, torch.tensor([0, 1, 0, 1]), TaskKind.BINARY, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert weighted == pytest.approx(fit_temperature(logits[:2], torch.tensor([0, 1]), TaskKind.BINARY))


def test_one_where_there_is_nothing_to_fit() -> None:
    logits, target = sample(TaskKind.BINARY)
    assert fit_temperature(logits, target.float(), TaskKind.REGRESSION) == 1.0
    assert fit_temperature(logits[:0], target[:0], TaskKind.BINARY) == 1.0
    assert fit_temperature(torch.zeros(4, 2, 1), torch.tensor([0, 1, 0, 1]), TaskKind.BINARY) == 1.0
