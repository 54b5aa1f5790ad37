"""Several processes that train one run: which of them this one is, and the run directory that they share.

With more than one device the Trainer starts the command again for each further one, or torchrun or srun has started
all of them. The first one (rank 0) names the run directory and writes into it; the others train along.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch.distributed.rendezvous import rendezvous

from mlpipe.errors import ConfigError
from mlpipe.training.quiet import quiet_lightning
from mlpipe.training.rundir import unique_name
from mlpipe.training.trainer_group import trainer_errors

#: By this variable the processes that the Trainer starts learn of the first one's run directory. It is none of the
#: user's, so it does not begin like those of the config.
_RUN_DIRECTORY = "_MLPIPE_RUN_DIRECTORY"
#: torchrun says by it whether its processes may use the store by which it brings them together.
_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
#: The arguments of the Trainer that decide on the processes.
_DECIDING = ("accelerator", "strategy", "devices", "num_nodes", "plugins")


@dataclass(frozen=True)
class Ranks:
    """The processes that train a run.

    Attributes:
        rank: Which one this is; 0 is the first.
        world_size: How many there are.
        num_nodes: On how many machines.
        environment: What started them, or will; None with one device.
    """

    rank: int = 0
    world_size: int = 1
    num_nodes: int = 1
    environment: ClusterEnvironment | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def run_directory(self, run: str | None, folder: Path) -> str | None:
        """The run directory that all processes use, to be asked by all of them.

        Args:
            run: The one that was asked for.
            folder: Where a new one goes.

        Returns:
            None where the run is free to be named: in the first process, if the others will be started by it.

        Raises:
            ConfigError: The others cannot be told.
        """
        if run is not None or self.world_size == 1:
            return run
        if isinstance(self.environment, TorchElasticEnvironment) and os.environ[_AGENT_STORE] == "True":
            store, *_ = next(rendezvous("env://", self.rank, self.world_size))
            if self.is_first:
                store.set(_RUN_DIRECTORY, str(folder / unique_name()))
            name: str = store.get(_RUN_DIRECTORY).decode()
            return name
        if self.num_nodes > 1 or not isinstance(self.environment, LightningEnvironment):
            raise ConfigError("Processes that were started apart train this run: name its folder with `--run DIR`.")
        return None if self.is_first else os.environ[_RUN_DIRECTORY]


def find_ranks(trainer: Mapping[str, Any]) -> Ranks:
    """The processes that a Trainer with these arguments trains with.

    Raises:
        ConfigError: Lightning knows no such accelerator or strategy, this machine has none, or the strategy makes
            processes in a way that `mlpipe fit` cannot follow.
    """
    # Only a Trainer knows: flags, the machine and the variables of several launchers decide together.
    given = {key: copy.deepcopy(trainer[key]) for key in _DECIDING if trainer.get(key) is not None}
    with quiet_lightning(), trainer_errors(MisconfigurationException, ValueError, ModuleNotFoundError):
        probe = L.Trainer(
            **given, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
        )
    if isinstance(probe.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "`trainer.strategy`: processes that are spawned or forked have no part in the rest of a run; say `ddp`, "
            "which starts the command anew for each device."
        )
    environment = getattr(probe.strategy, "cluster_environment", None)
    return Ranks(probe.global_rank, probe.world_size, probe.num_nodes, environment)


@contextmanager
def known_to_children(directory: Path) -> Iterator[None]:
    """Processes that are started within know the run directory."""
    os.environ[_RUN_DIRECTORY] = str(directory)
    try:
        yield
    finally:
        del os.environ[_RUN_DIRECTORY]
