"""Muon against torch's own and against a singular value decomposition; the schedule; which weights are decayed."""

import copy
import math

import pytest
import torch
from torch import nn

from mlpipe.models import Transformer, TransformerConfig, build_model
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature
from mlpipe.training.config import TrainingConfig
from mlpipe.training.optim import MuonAdamW, build_optimizer, orthogonalize, warmup_cosine, warmup_cosine_schedule

SPEC = InputSpec((NumericFeature("x", "x", bins=(-1.0, 0.0, 1.0)),), (CategoricalFeature("c", "c", 5),), 1)


@pytest.mark.parametrize("shape", [(32, 32), (64, 16), (16, 64)])
def test_orthogonalize_keeps_the_singular_vectors_and_levels_the_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, *shape, generator=generator)
    result = orthogonalize(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    in_their_basis = left.mT @ result @ right.mT
    values = torch.diagonal(in_their_basis, dim1=-2, dim2=-1)
    assert values.min() > 0.3  # small singular values are lifted by five steps, not all the way
    assert values.max() < 1.3
    off_diagonal = in_their_basis - torch.diag_embed(values)
    assert off_diagonal.abs().max() < 1e-4


@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(32, 32), (32, 64), (200, 32)])
def test_the_iteration_is_the_same_by_the_gram_matrix(shape: tuple[int, int], smallest: float) -> None:
    """Whose span of singular values is squared: the reference is the iteration in float64, which never goes by it."""
    generator = torch.Generator().manual_seed(3)
    left, _, right = torch.linalg.svd(torch.randn(2, *shape, generator=generator).double(), full_matrices=False)
    values = torch.logspace(0, math.log10(smallest), min(shape), dtype=torch.float64)
    matrices = (left * values) @ right
    expected = orthogonalize(matrices)
    assert (orthogonalize(matrices.float()) - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_muon_follows_torch(shape: tuple[int, int]) -> None:
    """torch iterates in bfloat16, hence the tolerance: two digits of the update."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = MuonAdamW([{"params": [ours], "muon": True, "lr": 0.02, "weight_decay": 0.1}])
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95)
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()  # type: ignore[no-untyped-call]  # torch's
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_a_fused_matrix_is_orthogonalised_part_by_part() -> None:
    generator = torch.Generator().manual_seed(2)
    gradients = [torch.randn(8, 8, generator=generator) for _ in range(3)]
    fused = nn.Parameter(torch.zeros(24, 8))
    fused.grad = torch.cat(gradients)
    MuonAdamW([{"params": [fused], "muon": True, "chunks": 3, "lr": 1.0, "weight_decay": 0.0}]).step()
    for part, gradient in zip(fused.detach().chunk(3), gradients, strict=True):
        alone = nn.Parameter(torch.zeros(8, 8))
        alone.grad = gradient
        MuonAdamW([{"params": [alone], "muon": True, "lr": 1.0, "weight_decay": 0.0}]).step()
        torch.testing.assert_close(part, alone.detach())


def test_members_matrices_are_orthogonalised_one_by_one() -> None:
    """A batch of K matrices in one parameter takes the steps of K parameters."""
    gradients = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(3))
    together = nn.Parameter(torch.zeros(3, 16, 8))
    together.grad = gradients
    MuonAdamW([{"params": [together], "muon": True, "lr": 1.0, "weight_decay": 0.0}]).step()
    for member, gradient in zip(together.detach(), gradients, strict=True):
        alone = nn.Parameter(torch.zeros(16, 8))
        alone.grad = gradient
        MuonAdamW([{"params": [alone], "muon": True, "lr": 1.0, "weight_decay": 0.0}]).step()
        torch.testing.assert_close(member, alone.detach())


def test_the_iteration_in_bfloat16_is_the_same_to_two_digits() -> None:
    gradient = torch.randn(24, 16, generator=torch.Generator().manual_seed(4))
    moved = []
    for precision in (torch.float32, torch.bfloat16):
        parameter = nn.Parameter(torch.zeros(24, 16))
        parameter.grad = gradient.clone()
        MuonAdamW([{"params": [parameter], "muon": True, "lr": 1.0}], precision=precision).step()
        assert parameter.dtype is torch.float32
        moved.append(parameter.detach())
    assert 0 < (moved[1] - moved[0]).norm() < 0.02 * moved[0].norm()


def test_every_parameter_is_in_one_group_and_only_hidden_matrices_get_muon() -> None:
    net = Transformer(TransformerConfig(width=16, num_heads=2), SPEC)
    optimizer = build_optimizer(net, TrainingConfig(optimizer="muon").at_batch_size(256), fused=True)
    ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    muon = {name for group in optimizer.param_groups if group["muon"] for name in group["param_names"]}
    assert muon
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in muon)
    decayed = {name for g in optimizer.param_groups if g["weight_decay"] > 0 for name in g["param_names"]}
    assert not any(name.endswith("bias") or "categorical" in name or name == "readout" for name in decayed)


def test_muon_takes_the_hidden_matrices_of_every_kind_of_model() -> None:
    mlp = TransformerConfig(trunk="mlp", width=8, num_layers=2, members=3, ensemble=2)
    optimizer = build_optimizer(build_model(mlp, SPEC), TrainingConfig(optimizer="muon").at_batch_size(256), fused=True)
    muon = [name for group in optimizer.param_groups if group["muon"] for name in group["param_names"]]
    assert muon == [f"networks.{i}.layers.{j}.weight" for i in range(2) for j in range(2)]


def test_state_survives_a_checkpoint() -> None:
    def setup() -> tuple[Transformer, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = Transformer(TransformerConfig(width=16, num_heads=2, dropout=0.0), SPEC)
        return net, build_optimizer(net, TrainingConfig(optimizer="muon").at_batch_size(256), fused=True)

    def step(net: Transformer, optimizer: torch.optim.Optimizer, seed: int) -> None:
        x = torch.randn(32, 1, generator=torch.Generator().manual_seed(seed))
        loss = net(x, torch.zeros(32, 1, dtype=torch.bool), torch.full((32, 1), 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    net, optimizer = setup()
    for seed in range(3):
        step(net, optimizer, seed)
    resumed, second = setup()
    resumed.load_state_dict(net.state_dict())
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch shares the tensors of a live state
    step(net, optimizer, 9)
    step(resumed, second, 9)
    for name, value in net.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_schedule_rises_then_falls_to_its_end() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine_schedule(optimizer, total=100, warmup_fraction=0.1, final_fraction=0.2)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert max(rates) == 2.0
    assert rates.index(2.0) == 9
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert math.isclose(optimizer.param_groups[0]["lr"], 0.4)


def test_schedule_without_warmup_starts_at_the_peak() -> None:
    assert warmup_cosine(0, 10, 0.0) == 1.0
    assert warmup_cosine(0, 1, 0.5) == 1.0


def test_the_closure_sees_all_groups() -> None:
    """Lightning clips gradients within the closure, through the optimiser's groups."""
    first, second = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))
    optimizer = MuonAdamW([{"params": [first], "muon": True, "weight_decay": 0.0}, {"params": [second]}])
    seen: list[int] = []

    def closure() -> float:
        seen.extend(id(p) for group in optimizer.param_groups for p in group["params"])
        first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
        return 1.5

    assert optimizer.step(closure) == 1.5
    assert seen == [id(first), id(second)]
    assert not torch.equal(first, torch.ones(4, 4))
    assert not torch.equal(second, torch.ones(4))
