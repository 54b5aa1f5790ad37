"""The `training` group of a config: the recipe. What the Trainer itself offers stays in the `trainer` group."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from mlpipe.checks import check_types
from mlpipe.errors import ConfigError, did_you_mean

OPTIMIZERS = ("adamw", "muon")
LOSSES = ("squared", "quantile")
CLASS_WEIGHTS = ("balanced",)
#: Peak learning rates of AdamW and of Muon where the config names none, from so many rows per step on.
LR, MUON_LR, FULL_BATCH = 6e-3, 0.02, 128


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained.

    Args:
        optimizer: `adamw`, or `muon`: Muon for the matrices of the blocks and AdamW for everything else.
        lr: Peak learning rate of AdamW; null: 0.006, and less where fewer than 128 rows go through a step, see
            `at_batch_size`.
        muon_lr: Peak learning rate of Muon; null: 0.02, or less by the same rule.
        weight_decay: Decoupled weight decay of matrices; norms, biases, embeddings and frequencies have none.
        beta1: First moment's decay in AdamW.
        beta2: Second moment's decay in AdamW.
        warmup_fraction: Share of all steps in which the learning rate rises linearly.
        final_lr_fraction: Where the cosine ends, as a share of the peak.
        loss: Of a regression. `squared` error; or `quantile`, the pinball loss of the median and of the two quantiles
            between which `interval` lies, which then follows the row; null: squared.
        class_weights: What rows count in the training loss by their class, times their sample weight: `balanced`, so
            that all classes weigh the same, or a mapping from label to weight, 1 for those it leaves out; null: all
            the same. Metrics do not know them.
        label_smoothing: Share of the target's mass that is spread evenly; classification only. null: by the metric:
            0.1 for those of a decision (accuracy, balanced_accuracy, f1, subset_accuracy), else 0.
        ema_decay: Per-step decay of the averaged weights that are validated and shipped; 0: no averaging.
        patience: Validations without improvement before training stops; 0: never stop early.
        metric: What the run is to be best at: early stopping and the choice of the best epoch watch it, and it decides
            on `label_smoothing` and `threshold` where they are null; null: log_loss, or rmse for regression (pinball
            with `loss: quantile`).
        threshold: Binary: the answer is the second class where its probability is above this; null: by the metric:
            fitted on the validation rows for accuracy, balanced_accuracy and f1, else one half.
        interval: Regression: predict an interval too that holds this share of the targets, such as 0.9; null: none.
        calibrate: Fit a temperature on the validation rows after training; classification only.
        compile: Compile the training step; pays off in runs of many minutes only.
        checkpoint_every_steps: Write `last.ckpt` this often within an epoch too; null: once an epoch.
    """

    optimizer: str = "muon"
    lr: float | None = None
    muon_lr: float | None = None
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.0
    loss: str | None = None
    class_weights: str | dict[Any, float] | None = None
    label_smoothing: float | None = None
    ema_decay: float = 0.99
    patience: int = 16
    metric: str | None = None
    threshold: float | None = None
    interval: float | None = None
    calibrate: bool = True
    compile: bool = False
    checkpoint_every_steps: int | None = None

    def __post_init__(self) -> None:
        check_types(self, "training")
        if self.optimizer not in OPTIMIZERS:
            hint = did_you_mean(self.optimizer, OPTIMIZERS)
            raise ConfigError(f"`training.optimizer` is {self.optimizer!r}, which is none of ours.{hint}")
        self._check_answers()
        self._check_class_weights()
        for name in ("lr", "muon_lr"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it has to be a number above 0.")
        for name in ("weight_decay", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it has to be a number, 0 or above.")
        for name in ("beta1", "beta2", "warmup_fraction", "label_smoothing", "ema_decay"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"`training.{name}` is {getattr(self, name)}; it has to be from 0 to below 1.")
        if not 0 <= self.final_lr_fraction <= 1:
            raise ConfigError(f"`training.final_lr_fraction` is {self.final_lr_fraction}; it has to be from 0 to 1.")
        if self.checkpoint_every_steps is not None and self.checkpoint_every_steps < 1:
            raise ConfigError(
                f"`training.checkpoint_every_steps` is {self.checkpoint_every_steps}; it has to be at least 1, or null."
            )

    def at_batch_size(self, rows: int) -> Self:
        """The recipe with the learning rates that null stands for.

        Below 128 rows per step they fall with the square root of the rows, since the gradient's noise grows as they do
        (Krizhevsky 2014, arXiv 1404.5997). `docs/recipe.md` has what it is worth on small tables.

        Args:
            rows: That one optimiser step sees.

        Examples:
            >>> [TrainingConfig().at_batch_size(rows).lr for rows in (32, 128, 1024)]
            [0.003, 0.006, 0.006]
            >>> TrainingConfig(lr=0.1).at_batch_size(32).lr
            0.1
        """
        share = min(1.0, math.sqrt(rows / FULL_BATCH))
        return replace(
            self,
            lr=LR * share if self.lr is None else self.lr,
            muon_lr=MUON_LR * share if self.muon_lr is None else self.muon_lr,
        )

    @property
    def quantiles(self) -> tuple[float, float, float] | None:
        """The quantiles that are learnt, in ascending order; None: the mean."""
        if self.loss != "quantile" or self.interval is None:
            return None
        return ((1 - self.interval) / 2, 0.5, (1 + self.interval) / 2)

    def _check_answers(self) -> None:
        if self.loss is not None and self.loss not in LOSSES:
            raise ConfigError(
                f"`training.loss` is {self.loss!r}, which is none of ours.{did_you_mean(self.loss, LOSSES)}"
            )
        for name, example in (("threshold", 0.3), ("interval", 0.9)):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(
                    f"`training.{name}` is {value}; it has to be above 0 and below 1, such as {example}, or null."
                )
        if self.loss == "quantile" and self.interval is None:
            raise ConfigError(
                "`training.loss: quantile` needs `training.interval`, such as 0.9: it says which quantiles to learn."
            )

    def _check_class_weights(self) -> None:
        wanted = self.class_weights
        if isinstance(wanted, str) and wanted not in CLASS_WEIGHTS:
            raise ConfigError(
                f"`training.class_weights` is {wanted!r}; it has to be `balanced`, or a weight for each label, such as "
                "{no: 1, yes: 3}." + _meant(wanted)
            )
        if isinstance(wanted, str) or wanted is None:
            return
        for label, weight in wanted.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 < weight < math.inf:
                raise ConfigError(
                    f"`training.class_weights` gives {label!r} the weight {weight!r}; it has to be a number above 0."
                )
        if not wanted:
            raise ConfigError("`training.class_weights` names no class; leave it out, or say `balanced`.")


def _meant(word: str) -> str:
    """A hint at the one word there is, if that is what was meant."""
    hint = did_you_mean(word, CLASS_WEIGHTS)
    return hint if "mean" in hint else ""
