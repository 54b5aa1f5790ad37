"""The two checkpoints of a run: the best epoch, and where a resumed run goes on; and how a signal ends it between."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

logger = logging.getLogger(__name__)


class RunInterrupted(SIGTERMException):
    """Ctrl-C or SIGTERM has ended training between two batches; `last.ckpt` is written."""


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` behind each validation, every few steps if asked to, and when the run is interrupted.

    On Ctrl-C or SIGTERM the step in hand is finished, the checkpoint written, and `RunInterrupted` raised: the resumed
    run goes on as if nothing had happened. A second Ctrl-C ends the process at once. (Lightning's own handling of
    Ctrl-C exits without a checkpoint.) What is written is whole:

    - With accumulated gradients a step takes several batches, and a checkpoint holds no gradients. One that falls
      between them, by a validation in their midst, is written at the end of the step.
    - A step that is followed by a validation is written behind that: Lightning would leave it out of the resumed run.

    It has to be the last callback, so that the others' states hold what the same validation has made of them. Its own
    is how long the run has taken up to the checkpoint, in all its sessions.

    Args:
        path: The file.
        every_steps: Optimiser steps between two checkpoints within an epoch; None: none.
    """

    def __init__(self, path: Path, every_steps: int | None = None) -> None:
        self.path = path
        self.every_steps = every_steps
        self.interrupted = False
        self._seconds_before = 0.0  # of the sessions up to the checkpoint that this one goes on from
        self._started = 0.0
        self._step_before = 0
        self._within_step = False
        self._overdue = False  # it was time to save in the midst of a step
        self._validated = False  # saved behind a validation, and nothing was trained since
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def seconds(self) -> float:
        """How long the run has taken until now."""
        return self._seconds_before + time.perf_counter() - self._started

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin to count."""
        self._started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How long the run has taken."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._seconds_before = state_dict["seconds"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over SIGINT and SIGTERM."""
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the step, to know whether this batch has ended it.

        Raises:
            RunInterrupted: A signal came before the validation behind the last step, or during it.
        """
        if self._validated and self._is_interrupted(trainer):
            raise RunInterrupted
        self._validated = False
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time to, or if a signal came.

        Raises:
            RunInterrupted: A signal came.
        """
        step = trainer.global_step
        if 0 <= trainer.max_steps <= step or _ends_between_validations(trainer):
            # Lightning would leave without a validation, and the last steps be lost.
            trainer.should_stop = True
        self._within_step = step == self._step_before
        if self._within_step or _validation_follows(trainer):
            return
        due = self._overdue or (self.every_steps is not None and step % self.every_steps == 0)
        stop = self._is_interrupted(trainer)
        if due or stop:
            self._save(trainer)
        if stop:
            raise RunInterrupted

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, unless a step is only half done: the best score so far is part of the state."""
        if self._within_step:
            self._overdue = True
        else:
            self._save(trainer)
            self._validated = True

    def give_signals_back(self) -> None:
        """Undo `on_fit_start`; to be called when the Trainer has ended, however it did.

        No hook does: when an exception ends the training, Lightning afterwards sets the handlers that it has found,
        which are ours.
        """
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._overdue = False

    def _is_interrupted(self, trainer: L.Trainer) -> bool:
        """Whether a signal came to one of the processes at least: all of them stop at the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(self.interrupted, all=False))

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        logger.warning("Stopping after this step; what was learnt so far is kept. Ctrl-C again stops at once.")


def _ends_between_validations(trainer: L.Trainer) -> bool:
    """Whether the run is at its end where validations go by the number of batches and not by epochs."""
    at_end = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.check_val_every_n_epoch is None and at_end


def _validation_follows(trainer: L.Trainer) -> bool:
    """Whether there is a validation behind the batch that has just ended: what the Trainer asks itself next."""
    data_fetcher = trainer.fit_loop._data_fetcher
    assert data_fetcher is not None  # it has fetched that batch
    return trainer.fit_loop.epoch_loop._should_check_val_fx(data_fetcher)


class BestCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that knows its files wherever the run's folder has been moved or copied to.

    Lightning's own forgets the best score if its folder is another now, and lets a worse epoch write over the best.
    The name is one of ours because Lightning refuses two with the same settings, and a user may add one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All of the old state, its files in the folder where they are now."""
        folder = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})
