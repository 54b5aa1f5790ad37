"""Needs the extra `baselines`. pytabkit's recipes take many epochs however small the table is, so they are slow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mlpipe.research.baselines import BASELINES, BaselineResult
from mlpipe.research.baselines import neural as neural_module
from mlpipe.schema import TaskKind

RunOne = Callable[..., BaselineResult]
KINDS = list(TaskKind)


@pytest.fixture(
    params=[
        pytest.param("realmlp", marks=pytest.mark.slow),
        pytest.param("tabm", marks=pytest.mark.slow),
        "ft_transformer",
    ]
)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    library = BASELINES[request.param].library
    assert library is not None
    pytest.importorskip(library)
    monkeypatch.setattr(neural_module, "MOST_EPOCHS", 3)
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task(name: str, kind: TaskKind, run_one: RunOne) -> None:
    result = run_one(name, kind)
    outputs = result.outputs["test"]
    if kind is TaskKind.REGRESSION:
        assert result.metrics["test"]["r2"] > (0.5 if name != "ft_transformer" else -1)  # 3 epochs are very few
        assert 700 < outputs.mean() < 1300  # in units of the target
    else:
        assert result.metrics["test"]["auroc"] > 0.75
        assert ((outputs >= 0) & (outputs <= 1)).all()
    if kind is TaskKind.MULTICLASS:
        np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("features", [("size",), ("color",)])
def test_numbers_or_categories_alone(name: str, features: tuple[str, ...], run_one: RunOne) -> None:
    assert run_one(name, TaskKind.BINARY, features=features).metrics["test"]["log_loss"] > 0


def test_a_transformer_keeps_its_best_epoch_and_takes_weights(run_one: RunOne, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rtdl_revisiting_models")
    monkeypatch.setattr(neural_module, "MOST_EPOCHS", 2)
    plain, weighted = (run_one("ft_transformer", TaskKind.REGRESSION, weighted=w) for w in (False, True))
    assert plain.rounds in (1, 2)
    assert np.abs(plain.outputs["test"] - weighted.outputs["test"]).max() > 0


def test_the_descent_ends_when_patience_does_and_restores_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_module, "PATIENCE", 2)
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    seen: list[float] = []

    def loss(x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = (net(x) - wanted).square().mean()
        if not net.training:
            seen.append(net.weight.item())
        return value

    # Training pulls the weight to 1, by 0.3 an epoch at first; validation wants it at a half.
    train = (torch.ones(8, 1), torch.ones(8, 1))
    best = neural_module._descend(
        net, torch.optim.SGD(net.parameters(), lr=0.15), loss, train, (torch.ones(4, 1), torch.full((4, 1), 0.5))
    )
    assert best == 2
    assert len(seen) == best + 2
    assert net.weight.item() == seen[best - 1]


def test_lightnings_exit_is_an_interrupt_again() -> None:
    with pytest.raises(KeyboardInterrupt), neural_module._tame_lightning():
        raise SystemExit(1)
