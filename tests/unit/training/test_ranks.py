"""Which of several processes this is; that they really share a run is in tests/integration/test_several_devices.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

from mlpipe.errors import ConfigError
from mlpipe.training.ranks import Ranks, find_ranks, known_to_children

CPU: dict[str, Any] = {"accelerator": "cpu", "precision": None, "callbacks": None}
RUNS = Path("runs")


@pytest.fixture(autouse=True)
def rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Trainer sets the rank for the whole process."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)


def test_one_device_is_one_process() -> None:
    ranks = find_ranks(CPU)
    assert (ranks.rank, ranks.world_size, ranks.is_first) == (0, 1, True)
    assert ranks.run_directory(None, RUNS) is None
    assert ranks.run_directory("here", RUNS) == "here"


def test_the_process_that_the_user_started_is_the_first() -> None:
    ranks = find_ranks({**CPU, "devices": 2, "strategy": "ddp"})
    assert (ranks.rank, ranks.world_size, ranks.is_first) == (0, 2, True)
    assert ranks.run_directory(None, RUNS) is None


def test_those_that_it_started_learn_its_run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with known_to_children(tmp_path):
        ranks = find_ranks({**CPU, "devices": 2})
        assert (ranks.rank, ranks.world_size, ranks.is_first) == (1, 2, False)
        assert ranks.run_directory(None, RUNS) == str(tmp_path)
        assert ranks.run_directory("here", RUNS) == "here"
    assert str(tmp_path) not in os.environ.values()


@pytest.mark.parametrize(
    "ranks",
    [
        Ranks(0, 4, 1, SLURMEnvironment()),
        Ranks(3, 4, 1, SLURMEnvironment()),
        Ranks(0, 4, 2, LightningEnvironment()),
        Ranks(2, 4, 2, LightningEnvironment()),
    ],
)
def test_processes_that_were_started_apart_need_a_name(ranks: Ranks) -> None:
    assert ranks.run_directory("here", RUNS) == "here"
    with pytest.raises(ConfigError, match=r"started apart .* name its folder with `--run DIR`"):
        ranks.run_directory(None, RUNS)


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ({"accelerator": "gpuu"}, r"^`trainer`: .*'gpuu'"),
        ({**CPU, "strategy": "dpp"}, r"^`trainer`: .*'dpp'"),
        ({**CPU, "strategy": "ddp_spawn", "devices": 2}, r"^`trainer\.strategy`: .*; say `ddp`"),
    ],
)
def test_what_cannot_be_is_refused_before_the_table_is_read(trainer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        find_ranks(trainer)
