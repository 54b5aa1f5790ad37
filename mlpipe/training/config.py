"""The `training` group of a config: the recipe. What the Trainer itself offers stays in the `trainer` group."""

from __future__ import annotations

from dataclasses import dataclass

from mlpipe.errors import ConfigError, did_you_mean

OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained.

    Args:
        optimizer: `adamw`, or `muon`: Muon for the matrices of the blocks and AdamW for everything else.
        lr: Peak learning rate of AdamW.
        muon_lr: Peak learning rate of Muon.
        weight_decay: Decoupled weight decay of matrices; norms, biases, embeddings and frequencies have none.
        beta1: First moment's decay in AdamW.
        beta2: Second moment's decay in AdamW.
        warmup_fraction: Share of all steps in which the learning rate rises linearly.
        final_lr_fraction: Where the cosine ends, as a share of the peak.
        label_smoothing: Share of the target's mass that is spread evenly; classification only.
        ema_decay: Per-step decay of the averaged weights that are validated and shipped; 0: no averaging.
        patience: Validations without improvement before training stops; 0: never stop early.
        metric: What early stopping and the choice of the best epoch watch; null: log_loss, or rmse for regression.
        calibrate: Fit a temperature on the validation rows after training; classification only.
        compile: Compile the training step; pays off in runs of many minutes only.
        checkpoint_every_steps: Write `last.ckpt` this often within an epoch too; null: once an epoch.
    """

    optimizer: str = "muon"
    lr: float = 6e-3
    muon_lr: float = 0.02
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.99
    patience: int = 16
    metric: str | None = None
    calibrate: bool = True
    compile: bool = False
    checkpoint_every_steps: int | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            hint = did_you_mean(self.optimizer, OPTIMIZERS)
            raise ConfigError(f"`training.optimizer` is {self.optimizer!r}, which is none of ours.{hint}")
        for name in ("lr", "muon_lr"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it has to be above 0.")
        for name in ("weight_decay", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it cannot be negative.")
        for name in ("beta1", "beta2", "warmup_fraction", "label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it has to be from 0 to below 1.")
        if not 0 <= self.final_lr_fraction <= 1:
            raise ConfigError(f"`training.final_lr_fraction` is {self.final_lr_fraction}; it has to be from 0 to 1.")
        if self.checkpoint_every_steps is not None and self.checkpoint_every_steps < 1:
            raise ConfigError(
                f"`training.checkpoint_every_steps` is {self.checkpoint_every_steps}; it has to be at least 1, or null."
            )
