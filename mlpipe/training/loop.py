"""Train, keep the best weights, calibrate, measure: what `mlpipe fit` and the estimators both do."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.data.batches import TensorBatches
from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.load import PARTS, Part
from mlpipe.errors import ConfigError
from mlpipe.features.calibration import Calibration
from mlpipe.features.statistics import Statistics
from mlpipe.memory import keep_freed_memory
from mlpipe.models import TableModel, TransformerConfig, member_average
from mlpipe.schema import TaskKind
from mlpipe.training.balance import class_weights
from mlpipe.training.callback_list import run_callbacks
from mlpipe.training.checkpoints import LastCheckpoint, RunInterrupted
from mlpipe.training.config import TrainingConfig
from mlpipe.training.module import TabularModule
from mlpipe.training.outcome import answer_statistics, before_training, check_recipe, fit_calibration, measure
from mlpipe.training.quiet import quiet_lightning
from mlpipe.training.resume import check_resumable
from mlpipe.training.trainer_group import (
    check_monitors,
    check_trainer,
    given_callbacks,
    trainer_arguments,
    trainer_errors,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a run has come to.

    Attributes:
        module: With its best weights, in evaluation mode, on the CPU.
        calibration: What was fitted on the validation rows.
        statistics: What the training rows looked like, and what is answered for the validation rows.
        outputs: (T, O) averaged outputs by part, behind the temperature; standardised values or quantiles for
            regression.
        uncalibrated: The same with a temperature of 1.
        metrics: By part, then by name; in target units.
        train_seconds: Wall time of the Trainer's fit; of a resumed run with that of the sessions before, each up to the
            checkpoint that the next one went on from.
        epochs: Epochs begun.
        interrupted: Whether Ctrl-C (or SIGTERM) cut it short.
    """

    module: TabularModule
    calibration: Calibration
    statistics: Statistics
    outputs: Mapping[Part, npt.NDArray[np.float32]]
    uncalibrated: Mapping[Part, npt.NDArray[np.float32]]
    metrics: Mapping[Part, Mapping[str, float]]
    train_seconds: float = 0.0
    epochs: int = 0
    interrupted: bool = False


def train(
    data: TabularDataModule,
    model: TransformerConfig,
    training: TrainingConfig,
    trainer: Mapping[str, Any],
    *,
    checkpoints: Path,
    seed: int = 0,
    loggers: Sequence[Logger] = (),
    resume: bool = False,
) -> Trained:
    """Fit the model of a config to a data module.

    Args:
        data: The table; set up here if it is not yet.
        model: The network.
        training: The recipe.
        trainer: Arguments for `lightning.Trainer`; its `callbacks` come on top of the recipe's own.
        checkpoints: Folder for `best.ckpt` and `last.ckpt`.
        seed: Decides the initial weights, the order of the rows and dropout.
        loggers: Lightning loggers.
        resume: Go on from `last.ckpt`.

    Raises:
        ConfigError: There is nothing to resume from, a key of the recipe is of another task or table, or the Trainer
            cannot train by its settings.
        TrainingError: The loss is not finite.
        SystemExit: This is one of several processes that train together, and not the first; its work is done.
    """
    keep_freed_memory()
    last = checkpoints / "last.ckpt"
    if resume and not last.is_file():
        raise ConfigError(f"{last}: there is no checkpoint to resume from; leave `--resume` out.")
    check_run(data, model, training, trainer, last if resume else None)
    accumulated = trainer.get("accumulate_grad_batches")
    training = training.at_batch_size(data.batch_size * (accumulated if isinstance(accumulated, int) else 1))
    model = model.for_rows(len(data.arrays["train"]))
    module = _module(data, model, training, seed)
    arguments = trainer_arguments(trainer, len(data.arrays["train"]), data.batch_size)
    arguments["callbacks"] = run_callbacks(module, training, checkpoints, seed, given_callbacks(trainer))
    arguments["logger"] = list(loggers)
    with quiet_lightning():
        with trainer_errors(MisconfigurationException, ValueError, ModuleNotFoundError):
            runner = L.Trainer(**arguments)
        with trainer_errors(MisconfigurationException, ModuleNotFoundError):
            interrupted = _fit(runner, module, data, last if resume else None)
    seconds = next(callback.seconds for callback in arguments["callbacks"] if isinstance(callback, LastCheckpoint))
    if not runner.is_global_zero:
        raise SystemExit(0)
    _load_best(module, checkpoints / "best.ckpt", last)
    # Of a run that is resumed and has nothing left to do, Lightning's own number lacks the last epoch.
    epochs = runner.fit_loop.epoch_progress.current.ready
    return replace(_measured(module, data, training), train_seconds=seconds, epochs=epochs, interrupted=interrupted)


def check_run(
    data: TabularDataModule,
    model: TransformerConfig,
    training: TrainingConfig,
    trainer: Mapping[str, Any],
    last: Path | None = None,
) -> None:
    """Refuse what `train` cannot do, as far as that is known before it; to be asked before a run writes anything.

    A resumed run reads its own config: were it written first, one that is refused would be read by every later try.

    Args:
        data: As for `train`, as are the next three.
        model: The network.
        training: The recipe.
        trainer: Arguments for `lightning.Trainer`.
        last: The checkpoint to go on from, if there is one.

    Raises:
        ConfigError: As `train`.
    """
    check_trainer(trainer)
    check_recipe(training, data.schema.task)
    check_monitors(trainer, training, data.schema.task.kind)
    data.setup("fit")
    spec = _judged_by(data, training).network_spec(data.spec)
    max_epochs = trainer_arguments(trainer, len(data.arrays["train"]), data.batch_size)["max_epochs"]
    if last is not None:
        model = model.for_rows(len(data.arrays["train"])).for_outputs(spec.num_outputs)
        check_resumable(last, model, spec, training, max_epochs)


def _judged_by(data: TabularDataModule, training: TrainingConfig) -> Calibration:
    """By what the epochs are judged.

    Raises:
        ConfigError: There are too few validation rows for the interval.
    """
    weight = data.arrays["validation"].weight
    return before_training(training, len(data.arrays["validation"]) if weight is None else int((weight > 0).sum()))


def _module(data: TabularDataModule, model: TransformerConfig, training: TrainingConfig, seed: int) -> TabularModule:
    """The module of a table, with fresh weights."""
    task, judged_by = data.schema.task, _judged_by(data, training)
    torch.manual_seed(seed)
    return TabularModule(
        model,
        judged_by.network_spec(data.spec),
        task.kind,
        training,
        data.preprocessor.target_.in_units if task.kind is TaskKind.REGRESSION else None,
        judged_by,
        class_weights(training.class_weights, task, data.arrays["train"]),
    )


def _load_best(module: TabularModule, best: Path, last: Path) -> None:
    """Give a module its best weights, on the CPU; where no epoch was measured yet, the last are the best.

    Raises:
        ConfigError: There are none.
    """
    if not best.is_file():
        if not last.is_file():
            raise ConfigError(
                "No validation has taken place, so there are no weights to keep: see the `trainer` group."
            )
        shutil.copyfile(last, best)  # interrupted within the first epoch; the first validation replaces it
    weights = torch.load(best, map_location="cpu", weights_only=True)
    module.load_state_dict(weights["state_dict"])
    module.cpu().eval()


def _measured(module: TabularModule, data: TabularDataModule, training: TrainingConfig) -> Trained:
    """Calibrate a module on the validation rows, and measure it on all that were held out."""
    codec, kind = data.preprocessor.target_, data.schema.task.kind
    held_out: dict[Part, Arrays] = {part: data.arrays[part] for part in PARTS[1:] if len(data.arrays[part])}
    logits = {part: predict_logits(module.net, arrays, data.eval_batch_size) for part, arrays in held_out.items()}
    calibration = fit_calibration(logits["validation"], held_out["validation"], kind, training)
    outputs = {part: member_average(values, kind, calibration.temperature) for part, values in logits.items()}
    answers = answer_statistics(logits["validation"], codec, calibration)
    return Trained(
        module=module,
        calibration=calibration,
        statistics=data.preprocessor.statistics_.with_predictions(answers),
        outputs={part: values.numpy() for part, values in outputs.items()},
        uncalibrated={part: member_average(values, kind).numpy() for part, values in logits.items()},
        metrics={part: measure(values, held_out[part], codec, calibration) for part, values in logits.items()},
    )


def _fit(runner: L.Trainer, module: TabularModule, data: TabularDataModule, checkpoint: Path | None) -> bool:
    """Run the Trainer; returns whether a signal ended it early."""
    try:
        runner.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except RunInterrupted:
        return True
    except SystemExit as stop:
        raise KeyboardInterrupt from stop  # what Lightning makes of a second Ctrl-C
    except BaseException:
        if runner.strategy.launcher is not None:
            runner.strategy.launcher.kill(signal.SIGKILL)  # they would wait for this process
        raise
    finally:
        for callback in runner.callbacks:  # type: ignore[attr-defined]  # Lightning sets it while it is made
            if isinstance(callback, LastCheckpoint):
                callback.give_signals_back()
    return False


@torch.inference_mode()
def predict_logits(net: TableModel, arrays: Arrays, batch_size: int) -> Tensor:
    """Logits (T, K, O) of a table, float32, on the network's device."""
    net.eval()
    device = next(net.parameters()).device
    batches = TensorBatches(arrays, batch_size, device=device)
    return torch.cat([net(b.numeric, b.missing, b.categorical).float() for b in batches]).cpu()
