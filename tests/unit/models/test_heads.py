"""Losses and averages against plain loops over rows and members."""

import math

import pytest
import torch
from torch import Tensor

from mlpipe.models.heads import LinearHead, MemberHead, member_average, member_loss
from mlpipe.schema import TaskKind

ROWS, MEMBERS, OUTPUTS = 5, 3, 4


def random_logits(outputs: int, seed: int = 0) -> Tensor:
    return torch.randn(ROWS, MEMBERS, outputs, generator=torch.Generator().manual_seed(seed)) * 3


def random_target(kind: TaskKind) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    match kind:
        case TaskKind.BINARY:
            return torch.randint(2, (ROWS,), generator=generator)
        case TaskKind.MULTICLASS:
            return torch.randint(OUTPUTS, (ROWS,), generator=generator)
        case TaskKind.MULTILABEL:
            return torch.randint(2, (ROWS, OUTPUTS), generator=generator).float()
        case TaskKind.REGRESSION:
            return torch.randn(ROWS, generator=generator)


def cross_entropy(logits: list[float], target: float, smoothing: float) -> float:
    """Of one yes-or-no question."""
    target = target * (1 - smoothing) + smoothing / 2
    probability = 1 / (1 + math.exp(-logits[0]))
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


def loss_of_one(logits: Tensor, target: Tensor, kind: TaskKind, smoothing: float) -> float:
    values: list[float] = logits.double().tolist()
    match kind:
        case TaskKind.BINARY:
            return cross_entropy(values, float(target), smoothing)
        case TaskKind.MULTILABEL:
            answers = target.tolist()
            losses = [cross_entropy([value], answer, smoothing) for value, answer in zip(values, answers, strict=True)]
            return math.fsum(losses) / len(losses)
        case TaskKind.MULTICLASS:
            total = sum(math.exp(value) for value in values)
            logs = [value - math.log(total) for value in values]
            return -(1 - smoothing) * logs[int(target)] - smoothing * sum(logs) / len(logs)
        case TaskKind.REGRESSION:
            return (values[0] - float(target)) ** 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", list(TaskKind))
def test_loss(kind: TaskKind, weighted: bool, smoothing: float) -> None:
    outputs = OUTPUTS if kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL) else 1
    logits, target = random_logits(outputs), random_target(kind)
    weight = torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0]) if weighted else None
    per_row = [
        sum(loss_of_one(logits[row, member], target[row], kind, smoothing) for member in range(MEMBERS)) / MEMBERS
        for row in range(ROWS)
    ]
    weights = [1.0] * ROWS if weight is None else weight.tolist()
    expected = sum(w * loss for w, loss in zip(weights, per_row, strict=True)) / ROWS
    loss = member_loss(logits, target, kind, weight, smoothing)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_loss_is_float32_for_low_precision_logits(kind: TaskKind) -> None:
    outputs = OUTPUTS if kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL) else 1
    logits, target = random_logits(outputs).bfloat16(), random_target(kind)
    with torch.autocast("cpu", torch.bfloat16):
        loss = member_loss(logits, target, kind)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, member_loss(logits.float(), target, kind))


def test_the_loss_of_members_is_no_loss_of_their_mean() -> None:
    """Members that cancel out predict perfectly together and are still told to change."""
    logits = torch.tensor([[[1.0], [-1.0]]], requires_grad=True)
    loss = member_loss(logits, torch.zeros(1), TaskKind.REGRESSION)
    assert float(loss.detach()) == 1
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [1, -1]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_average(kind: TaskKind) -> None:
    outputs = OUTPUTS if kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL) else 1
    logits = random_logits(outputs)
    answer = member_average(logits.bfloat16(), kind, temperature=1.0)
    assert answer.shape == (ROWS, outputs)
    assert answer.dtype is torch.float32
    answer = member_average(logits, kind, temperature=2.0)
    members = []
    for member in range(MEMBERS):
        values = logits[:, member].double()
        if kind is TaskKind.MULTICLASS:
            powers = (values / 2).exp()
            values = powers / powers.sum(1, keepdim=True)
        elif kind is not TaskKind.REGRESSION:  # no temperature there: values have units
            values = 1 / (1 + (-values / 2).exp())
        members.append(values)
    torch.testing.assert_close(answer.double(), sum(members) / MEMBERS, atol=1e-6, rtol=1e-6)


def test_every_member_has_its_own_linear_head() -> None:
    head = LinearHead(num_members=2, width=3, num_outputs=1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[[1.0], [0.0], [0.0]], [[0.0], [2.0], [0.0]]]))
        head.bias.copy_(torch.tensor([[0.5], [0.0]]))
    assert head(torch.tensor([[[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]]])).tolist() == [[[1.5], [6.0]]]


def test_members_share_one_matrix_between_their_adapters() -> None:
    torch.manual_seed(0)
    head = MemberHead(num_members=2, width=3, hidden_width=4, num_outputs=1, dropout=0.5).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 1, 3)
    for member, logits in enumerate(head(x).unbind(1)):
        # rank one: (s r^T) * W, written as a matrix of the member's own
        matrix = head.shared.weight * torch.outer(head.scale_out[member], head.scale_in[member])
        hidden = (x[:, 0] @ matrix.T + head.bias[member]).relu()
        torch.testing.assert_close(logits, hidden @ head.out.weight[member] + head.out.bias[member])


def test_the_quantile_loss_is_the_pinball_loss_of_every_output() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(20, 3, 3, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    quantiles = (0.05, 0.5, 0.95)
    total = 0.0
    for row in range(20):
        for member in range(3):
            for output, q in enumerate(quantiles):
                off = float(target[row] - logits[row, member, output])
                total += (q * off if off >= 0 else (q - 1) * off) / (20 * 3 * 3)
    found = member_loss(logits, target, TaskKind.REGRESSION, quantiles=quantiles)
    assert float(found) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS])
def test_a_class_weight_counts_as_the_weight_of_its_rows(kind: TaskKind) -> None:
    torch.manual_seed(0)
    classes = 2 if kind is TaskKind.BINARY else 3
    logits = torch.randn(30, 2, 1 if kind is TaskKind.BINARY else 3)
    target, of_row = torch.randint(classes, (30,)), torch.rand(30) + 0.5
    of_class = torch.tensor([1.0, 4.0, 0.5])[:classes]
    expected = member_loss(logits, target, kind, of_row * of_class[target])
    torch.testing.assert_close(member_loss(logits, target, kind, of_row, class_weight=of_class), expected)
    torch.testing.assert_close(
        member_loss(logits, target, kind, class_weight=of_class), member_loss(logits, target, kind, of_class[target])
    )


def test_a_label_s_weight_is_that_of_its_positive_rows() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(10, 2, 3), torch.randint(2, (10, 3)).float()
    weight = torch.tensor([1.0, 3.0, 0.5])
    p = logits.sigmoid().double()
    y = target[:, None].double()
    expected = -(weight.double() * y * p.log() + (1 - y) * (1 - p).log()).mean()
    found = member_loss(logits, target, TaskKind.MULTILABEL, class_weight=weight)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", TaskKind)
def test_weighted_losses_of_batches_average_to_that_of_all_rows(kind: TaskKind) -> None:
    """A rare row that counts much makes its batch count much; one without it counts little."""
    torch.manual_seed(0)
    many = kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL)
    logits = torch.randn(12, 2, 3 if many else 1)
    target = torch.randint(2, (12, 3)).float() if kind is TaskKind.MULTILABEL else torch.randint(2, (12,))
    of_class = None if kind is TaskKind.REGRESSION else torch.tensor([1.0, 20.0, 3.0])
    of_row = torch.tensor([8.0] + 11 * [4 / 11])
    whole, *batches = (
        member_loss(logits[rows], target[rows], kind, of_row[rows], class_weight=of_class)
        for rows in (slice(None), slice(4), slice(4, 8), slice(8, 12))
    )
    torch.testing.assert_close(torch.stack(batches).mean(), whole)


@pytest.mark.parametrize("kind", TaskKind)
def test_rows_that_all_count_nothing_have_no_loss_and_no_gradient(kind: TaskKind) -> None:
    many = kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL)
    logits = torch.randn(3, 2, 4 if many else 1, requires_grad=True)
    target = torch.ones(3, 4) if kind is TaskKind.MULTILABEL else torch.tensor([0, 1, 1])
    loss = member_loss(logits, target, kind, torch.zeros(3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()
