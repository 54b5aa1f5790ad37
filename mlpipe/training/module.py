"""The LightningModule: the network, its loss, its optimiser, and what is measured on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from mlpipe.data.batches import Batch
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.calibration import Calibration
from mlpipe.models import TransformerConfig, build_model, member_average, member_loss
from mlpipe.schema import InputSpec, TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.metrics import compute_metrics
from mlpipe.training.optim import build_optimizer, warmup_cosine_schedule
from mlpipe.training.outcome import Objective

Values = npt.NDArray[np.floating[Any]]

#: Under this key a checkpoint says what its run began with; plain JSON types, so that `weights_only` loads it.
CHECKPOINT_KEY = "mlpipe"


class TabularModule(L.LightningModule):
    """Trains a model of `mlpipe.models` on the batches of a `TabularDataModule`.

    The network is seeded by the caller, before it is built here. Losses are logged as `train/loss`, the metrics of the
    validation rows as `val/<metric>`.

    Args:
        model: The network's config.
        spec: The input's columns, and the number of outputs.
        kind: The task.
        training: The recipe.
        to_target_units: Regression: turns the network's standardised values (and targets) into the target's units, so
            that metrics are in those.
        calibration: By which the epochs are judged: a threshold that the user has set, quantiles. What is fitted
            comes when training has ended.
        class_weight: (C,) float32, see `member_loss`.

    Raises:
        ConfigError: A key of the recipe is of another task.

    Shape:
        Batches: see `mlpipe.data.batches.Batch`. Logits: (B, K, O), K members of an ensemble in one network.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        model: TransformerConfig,
        spec: InputSpec,
        kind: TaskKind,
        training: TrainingConfig,
        to_target_units: Callable[[Values], Values] | None = None,
        calibration: Calibration | None = None,
        class_weight: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.kind = kind
        self.training_config = training
        self.objective = Objective.of(training, kind)
        self.to_target_units = to_target_units
        self.calibration = calibration or Calibration()
        weight = None if class_weight is None else torch.from_numpy(class_weight)
        self.register_buffer("class_weight", weight, persistent=False)
        self.net = build_model(model, spec)
        self.model_config = self.net.config
        # Training alone is compiled: evaluation has other batch sizes and runs without gradients, each of which would
        # compile the network once more. As a plain function it is no submodule and leaves the weights' names alone.
        self._compiled: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
        self._loss_sum = torch.zeros(())
        self._loss_count = 0
        self._evaluated: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, numeric: Tensor, missing: Tensor, categorical: Tensor) -> Tensor:
        """Logits (B, K, O) of a batch."""
        logits: Tensor = self.net(numeric, missing, categorical)
        return logits

    def setup(self, stage: str) -> None:
        """Compile the training step, if asked to."""
        if stage == "fit" and self.training_config.compile:
            self._compiled = torch.compile(self.net.forward, fullgraph=True)

    def on_train_start(self) -> None:
        """Have what a checkpoint has brought where the losses are: no epoch begins in a run resumed within one."""
        self._loss_sum = self._loss_sum.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._loss_sum, self._loss_count = torch.zeros((), device=self.device), 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean of the members' losses."""
        assert batch.target is not None
        forward = self._compiled or self.net
        logits = forward(batch.numeric, batch.missing, batch.categorical)
        loss = member_loss(
            logits,
            batch.target,
            self.kind,
            batch.weight,
            self.objective.label_smoothing,
            self.class_weight,
            self.training_config.quantiles,
        )
        self._loss_sum += loss.detach()
        self._loss_count += 1
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss: once, since `self.log` in each step costs as much as a small layer."""
        if self._loss_count:  # none if the time was up before the first batch
            self.log("train/loss", self.epoch_loss, sync_dist=True)

    @property
    def epoch_loss(self) -> Tensor:
        """Mean training loss of the epoch so far."""
        return self._loss_sum / max(1, self._loss_count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect; a metric of a part is no mean over its batches."""
        assert batch.target is not None
        logits = self(batch.numeric, batch.missing, batch.categorical)
        self._evaluated.append((member_average(logits, self.kind), batch.target, batch.weight))

    def on_validation_epoch_end(self) -> None:
        """Compute and log the metrics of the whole part.

        Raises:
            ConfigError: The watched metric is not defined on these rows.
        """
        outputs, targets, weights = zip(*self._evaluated, strict=True)
        self._evaluated = []
        weight = None if weights[0] is None else torch.cat(weights)
        metrics = self.metrics(torch.cat(outputs), torch.cat(targets), weight)
        watched = self.objective.metric
        if watched not in metrics:
            hint = did_you_mean(watched, metrics)
            raise ConfigError(f"`training.metric` is {watched!r}, which is not defined on the validation rows.{hint}")
        for name, value in metrics.items():
            self.log(f"val/{name}", value, prog_bar=name == watched, sync_dist=True)

    def metrics(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """All metrics of the task.

        Args:
            outputs: (T, O) averaged outputs: probabilities, or standardised values or quantiles.
            target: As in `Arrays.target`.
            weight: (T,) sample weights.
        """
        values, truth = outputs.float().cpu().numpy(), target.cpu().numpy()
        if self.calibration.interval is not None:
            values = self.calibration.interval.around(values)
        if self.to_target_units is not None:
            values, truth = self.to_target_units(values), self.to_target_units(truth)
        return compute_metrics(
            self.kind,
            values,
            truth,
            None if weight is None else weight.cpu().numpy(),
            threshold=self.calibration.threshold,
            level=self.calibration.level,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimiser, and warm-up + cosine over all steps of the run."""
        config = self.training_config
        # A fused step cannot be told by Lightning's gradient scaler to skip, which 16-mixed needs.
        precision = self.trainer.precision
        optimizer = build_optimizer(
            self.net,
            config,
            fused=precision != "16-mixed",
            precision=torch.bfloat16 if precision.startswith("bf16") else torch.float32,
        )
        scheduler = warmup_cosine_schedule(
            optimizer, total_steps(self.trainer), config.warmup_fraction, config.final_lr_fraction
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm of all gradients.

        Lightning refuses to clip for a fused optimiser under any mixed precision. That matters with a gradient scaler
        alone, for which `configure_optimizers` does not fuse.
        """
        if self.trainer.precision == "16-mixed" or gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say how to build the network again, what else a resumed run cannot change, and the epoch's loss so far.

        All processes save together; each goes on with the mean of what they had, as after a resume: the mean is logged.
        """
        self._loss_sum = self.trainer.strategy.reduce(self._loss_sum, reduce_op="mean")
        checkpoint[CHECKPOINT_KEY] = {
            "model": self.model_config.to_dict(),
            "spec": self.spec.to_dict(),
            "optimizer": self.training_config.optimizer,
            "epoch_loss": {"sum": float(self._loss_sum), "count": self._loss_count},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's loss."""
        loss = checkpoint[CHECKPOINT_KEY]["epoch_loss"]
        self._loss_sum, self._loss_count = torch.tensor(loss["sum"]), loss["count"]


def total_steps(trainer: L.Trainer) -> int:
    """Optimiser steps of a whole run.

    Lightning's `estimated_stepping_batches` sets the loaders up before a checkpoint's loop state is restored, and the
    position within the epoch is then never loaded (seen in Lightning 2.6.6).

    Raises:
        ConfigError: The run has no end.
    """
    data: L.LightningDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set by Trainer.fit
    batches = len(data.train_dataloader())
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * (trainer.max_epochs or 0)
    if trainer.max_steps >= 0:
        steps = min(steps, trainer.max_steps) if steps > 0 else trainer.max_steps
    if steps <= 0:
        raise ConfigError("`trainer.max_epochs` has to be at least 1: the schedule needs to know the run's end.")
    return steps
