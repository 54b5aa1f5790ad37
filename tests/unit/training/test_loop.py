"""`train` on small tables: it learns, it is deterministic, and every knob does what it says."""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.infer import infer_schema
from mlpipe.data.load import Part
from mlpipe.errors import ConfigError, TrainingError
from mlpipe.models import Transformer, TransformerConfig, member_average
from mlpipe.research.baselines import run_baselines
from mlpipe.schema import InputSpec, TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.csvlog import MetricsCSV
from mlpipe.training.loop import Trained, predict_logits, train
from mlpipe.training.metrics import HIGHER_IS_BETTER
from mlpipe.training.module import total_steps

TINY = TransformerConfig(trunk="transformer", width=16, num_heads=2, num_layers=1, readout_tokens=2)
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
TARGETS = {
    TaskKind.BINARY: ["binary"],
    TaskKind.MULTICLASS: ["multiclass"],
    TaskKind.MULTILABEL: ["first", "second"],
    TaskKind.REGRESSION: ["regression"],
}
ALL_TARGETS = ("binary", "multiclass", "first", "second", "regression")
KINDS = [pytest.param(kind, id=str(kind)) for kind in TaskKind]


def table(rows: int, seed: int) -> pl.DataFrame:
    """A number, a category, and targets of every kind that follow from them but for some noise."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=rows), random.normal(size=rows)
    color = random.choice(["red", "blue"], rows)
    score = x + np.where(color == "red", 1.0, -1.0) + 0.3 * random.normal(size=rows)
    return pl.DataFrame(
        {
            "x": x,
            "z": z,
            "color": color,
            "weight": random.integers(1, 4, rows),
            "binary": np.where(score > 0, "yes", "no"),
            "multiclass": np.digitize(score, [-1.0, 1.0]),
            "first": (score > 0).astype(int),
            "second": (z > 0).astype(int),
            "regression": 100 + 20 * score,
        }
    )


def data_for(kind: TaskKind, *, weight: str | None = None, rows: int = 400, seed: int = 0) -> TabularDataModule:
    target = TARGETS[kind]
    unused = [name for name in (*ALL_TARGETS, "weight") if name not in target and name != weight]
    frames: dict[Part, pl.DataFrame] = {
        "train": table(rows, 0).drop(unused),
        "validation": table(150, 1).drop(unused),
        "test": table(150, 2).drop(unused),
    }
    schema = infer_schema(frames["train"], target, weight=weight)
    assert schema.task.kind is kind
    return TabularDataModule(schema, frames, batch_size=64, seed=seed)


def fit(
    folder: Path,
    kind: TaskKind = TaskKind.BINARY,
    *,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    data: TabularDataModule | None = None,
    model: TransformerConfig = TINY,
    resume: bool = False,
    **training: Any,
) -> Trained:
    return train(
        data or data_for(kind, seed=seed),
        model,
        TrainingConfig(**training),
        {**QUIET, "max_epochs": 2, **(trainer or {})},
        checkpoints=folder,
        seed=seed,
        resume=resume,
    )


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.module.net.state_dict()


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def checkpoint(folder: Path, name: str = "best") -> dict[str, Any]:
    values: dict[str, Any] = torch.load(folder / f"{name}.ckpt", weights_only=True)
    return values


class Watch(Callback):
    """Keeps what the Trainer came to."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps = trainer.global_step
        self.epochs = trainer.current_epoch + 1
        self.weights = {name: value.clone() for name, value in pl_module.net.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_simple_relation_is_learnt_by_every_kind_of_task(kind: TaskKind, tmp_path: Path) -> None:
    data = data_for(kind)
    trained = fit(tmp_path, data=data, trainer={"max_epochs": 12})
    (baseline,) = run_baselines(data.schema, data.frames, names=("most_frequent",))
    for part in ("validation", "test"):
        found, guessed = trained.metrics[part], baseline.metrics[part]
        if kind is TaskKind.REGRESSION:
            assert found["r2"] > 0.8
            assert found["rmse"] < 0.5 * guessed["rmse"]  # in units of the target, where a guess is off by 28 or so
            assert guessed["rmse"] > 20
        else:
            assert found["log_loss"] < 0.6 * guessed["log_loss"]
        assert trained.outputs[part].shape == (150, data.schema.task.num_outputs)
        assert trained.outputs[part].dtype == np.float32
    assert trained.epochs <= 12
    assert not trained.interrupted
    assert not trained.module.training


@pytest.mark.parametrize(
    "model", [replace(TINY, trunk="mlp", width=8, num_layers=2, members=4, member_width=32), replace(TINY, ensemble=2)]
)
def test_every_kind_of_model_learns_it(model: TransformerConfig, tmp_path: Path) -> None:
    trained = fit(tmp_path, model=model, trainer={"max_epochs": 12})
    assert trained.metrics["test"]["auroc"] > 0.9
    assert trained.module.net.config == replace(model, additive=True)


@pytest.mark.parametrize(
    ("wanted", "few", "expected"), [(None, 401, True), (None, 400, False), (True, 400, True), (False, 401, False)]
)
def test_columns_add_by_themselves_where_training_rows_are_few(
    wanted: bool | None, few: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was decided is in the checkpoint: a network alone does not know the rows."""
    monkeypatch.setattr("mlpipe.models.config.FEW_ROWS", few)
    trained = fit(tmp_path, model=replace(TINY, additive=wanted), trainer={"max_epochs": 1})
    assert trained.module.model_config.additive is expected
    assert checkpoint(tmp_path)["mlpipe"]["model"]["additive"] is expected
    if expected:
        assert weights(trained)["additive.weight"].abs().max() > 0
    else:
        assert "additive.weight" not in weights(trained)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_returned_is_what_the_best_checkpoint_holds(kind: TaskKind, tmp_path: Path) -> None:
    data = data_for(kind)
    trained = fit(tmp_path, data=data)
    stored = checkpoint(tmp_path)
    recipe = stored["mlpipe"]
    net = Transformer(TransformerConfig.from_dict(recipe["model"]), InputSpec.from_dict(recipe["spec"]))
    net.load_state_dict({name.removeprefix("net."): value for name, value in stored["state_dict"].items()})
    logits = predict_logits(net, data.arrays["test"], 4096)
    expected = member_average(logits, kind, trained.calibration.temperature).numpy()
    np.testing.assert_array_equal(trained.outputs["test"], expected)
    np.testing.assert_array_equal(trained.uncalibrated["test"], member_average(logits, kind).numpy())


def test_same_seed_same_weights_other_seed_others(tmp_path: Path) -> None:
    first = fit(tmp_path / "a", seed=3)
    torch.rand(10)  # what was drawn before must not matter
    second = fit(tmp_path / "b", seed=3)
    other = fit(tmp_path / "c", seed=4)
    assert same(weights(first), weights(second))
    assert first.metrics == second.metrics
    assert not same(weights(first), weights(other))


#: A rate this small changes nothing that float32 shows in the metric.
STANDS_STILL: dict[str, Any] = {"lr": 1e-30, "muon_lr": 1e-30, "metric": "accuracy"}


def test_early_stopping_stops(tmp_path: Path) -> None:
    assert fit(tmp_path, trainer={"max_epochs": 50}, patience=2, **STANDS_STILL).epochs == 3
    assert fit(tmp_path / "never", trainer={"max_epochs": 5}, patience=0, **STANDS_STILL).epochs == 5


@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_a_run_that_early_stopping_has_ended_stays_as_it_is_when_resumed(tmp_path: Path, interval: float) -> None:
    settings = {"max_epochs": 50, "val_check_interval": interval}
    first = fit(tmp_path, trainer=settings, patience=2, **STANDS_STILL)
    assert first.epochs == (3 if interval == 1 else 2)
    before = [(tmp_path / f"{name}.ckpt").read_bytes() for name in ("best", "last")]
    for epochs in (50, 90):
        again = fit(tmp_path, trainer={**settings, "max_epochs": epochs}, patience=2, resume=True, **STANDS_STILL)
        assert (again.epochs, again.metrics, again.interrupted) == (first.epochs, first.metrics, False)
        assert [(tmp_path / f"{name}.ckpt").read_bytes() for name in ("best", "last")] == before
    more = fit(tmp_path, trainer=settings, patience=4, resume=True, **STANDS_STILL)
    whole = fit(tmp_path / "whole", trainer=settings, patience=4, **STANDS_STILL)
    assert more.epochs == whole.epochs == (5 if interval == 1 else 3)
    assert_same_checkpoints(tmp_path / "whole", tmp_path)


def test_a_run_that_a_callback_of_the_users_has_ended_stays_as_it_is(tmp_path: Path) -> None:
    def stopped(patience: int, *, resume: bool) -> int:
        callback = EarlyStopping("val/accuracy", mode="max", patience=patience)
        settings = {"max_epochs": 9, "callbacks": callback}
        return fit(tmp_path, trainer=settings, resume=resume, **STANDS_STILL).epochs

    assert [stopped(patience, resume=patience > 1) for patience in (1, 2, 2)] == [2, 3, 3]


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_the_best_epoch_is_the_best_by_the_watched_metric(tmp_path: Path, metric: str) -> None:
    class Scores(Callback):
        def __init__(self) -> None:
            self.values: list[float] = []

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.values.append(float(trainer.callback_metrics[f"val/{metric}"]))

    scores = Scores()
    fit(tmp_path, trainer={"max_epochs": 6, "callbacks": [scores]}, metric=metric, lr=0.02)
    best = (np.argmax if HIGHER_IS_BETTER[metric] else np.argmin)(scores.values)
    assert len(scores.values) == 6
    assert checkpoint(tmp_path)["epoch"] == best


def test_averaged_weights_are_those_that_are_kept(tmp_path: Path) -> None:
    watch = Watch()
    fit(tmp_path / "on", ema_decay=0.9, trainer={"callbacks": [watch]})
    stored = checkpoint(tmp_path / "on", "last")
    current = {name.removeprefix("net."): value for name, value in stored["current_model_state"].items()}
    averaged = {name.removeprefix("net."): value for name, value in stored["state_dict"].items()}
    assert same(watch.weights, averaged)
    assert not same(current, averaged)
    best = checkpoint(tmp_path / "on")
    assert not same(best["state_dict"], best["current_model_state"])

    watch = Watch()
    off = fit(tmp_path / "off", ema_decay=0.0, trainer={"callbacks": [watch]})
    stored = checkpoint(tmp_path / "off", "last")
    assert "current_model_state" not in stored
    assert same(watch.weights, {name.removeprefix("net."): value for name, value in stored["state_dict"].items()})
    assert checkpoint(tmp_path / "off").keys() >= {"state_dict", "mlpipe"}
    assert weights(off).keys() == watch.weights.keys()


def test_gradients_are_accumulated_over_batches(tmp_path: Path) -> None:
    watch = Watch()
    fit(tmp_path, trainer={"accumulate_grad_batches": 3, "callbacks": [watch]})
    assert watch.steps == 4  # 6 batches of 64 rows an epoch


@pytest.mark.parametrize("steps", [3, 6, 8])
def test_max_steps_ends_the_run_and_its_schedule(tmp_path: Path, steps: int) -> None:
    watch = Watch()
    trained = fit(tmp_path, trainer={"max_epochs": -1, "max_steps": steps, "callbacks": [watch]})
    last = checkpoint(tmp_path, "last")
    assert watch.steps == last["global_step"] == steps
    assert last["lr_schedulers"][0]["_last_lr"] == [0.0] * len(last["lr_schedulers"][0]["_last_lr"])
    assert trained.metrics.keys() == {"validation", "test"}


@pytest.mark.filterwarnings("ignore:.*16-mixed.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*AMP.*CPU.*")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns_about_the_same(tmp_path: Path, precision: str) -> None:
    full = fit(tmp_path / "full", trainer={"max_epochs": 6})
    mixed = fit(tmp_path / "mixed", trainer={"max_epochs": 6, "precision": precision})
    assert all(value.dtype == torch.float32 for value in weights(mixed).values() if value.is_floating_point())
    assert not same(weights(full), weights(mixed))
    assert mixed.metrics["test"]["log_loss"] == pytest.approx(full.metrics["test"]["log_loss"], abs=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step_trains_the_same_weights(tmp_path: Path) -> None:
    plain, compiled = fit(tmp_path / "plain"), fit(tmp_path / "compiled", compile=True)
    assert checkpoint(tmp_path / "plain")["state_dict"].keys() == checkpoint(tmp_path / "compiled")["state_dict"].keys()
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-2, atol=1e-3, msg=name)
    np.testing.assert_allclose(compiled.outputs["test"], plain.outputs["test"], atol=0.01)


def test_sample_weights_matter_in_training_and_in_metrics(tmp_path: Path) -> None:
    weighted = fit(tmp_path / "a", data=data_for(TaskKind.BINARY, weight="weight"))
    plain = fit(tmp_path / "b")
    assert weighted.module.spec == plain.module.spec  # a weight is no feature
    assert not same(weights(weighted), weights(plain))
    outputs, data = weighted.outputs["test"], data_for(TaskKind.BINARY, weight="weight")
    data.setup()
    target, weight = data.arrays["test"].target, data.arrays["test"].weight
    assert target is not None
    assert weight is not None
    correct = (outputs[:, 0] > 0.5) == target
    assert weighted.metrics["test"]["accuracy"] == pytest.approx(np.average(correct, weights=weight), abs=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in TaskKind if kind is not TaskKind.REGRESSION])
def test_the_temperature_never_makes_the_validation_rows_worse(kind: TaskKind, tmp_path: Path) -> None:
    data = data_for(kind)
    trained = fit(tmp_path / "on", data=data)
    target = torch.from_numpy(data.arrays["validation"].target)
    raw = trained.module.metrics(torch.from_numpy(trained.uncalibrated["validation"]), target)
    assert trained.calibration.temperature != 1
    assert trained.metrics["validation"]["log_loss"] < raw["log_loss"]
    off = fit(tmp_path / "off", data=data_for(kind), calibrate=False)
    assert off.calibration.temperature == 1
    np.testing.assert_array_equal(off.outputs["test"], trained.uncalibrated["test"])


def test_an_empty_test_part_has_no_metrics(tmp_path: Path) -> None:
    data = data_for(TaskKind.REGRESSION)
    frames = {**data.frames, "test": data.frames["test"].head(0)}
    trained = fit(tmp_path, data=TabularDataModule(data.schema, frames, batch_size=64), trainer={"max_epochs": 1})
    assert trained.metrics.keys() == trained.outputs.keys() == {"validation"}
    assert trained.calibration.temperature == 1


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    sentence = r"`training\.metric` is 'acuracy', which is none of a binary task\. Did you mean 'accuracy'\?"
    with pytest.raises(ConfigError, match=sentence):
        fit(tmp_path, metric="acuracy")


@pytest.mark.parametrize(
    ("kind", "metric"), [(TaskKind.REGRESSION, "accuracy"), (TaskKind.BINARY, "rmse"), (TaskKind.MULTICLASS, "r2")]
)
def test_a_metric_of_another_task_is_refused(tmp_path: Path, kind: TaskKind, metric: str) -> None:
    with pytest.raises(ConfigError, match=rf"`training\.metric` is '{metric}'"):
        fit(tmp_path, kind, metric=metric)


def test_a_metric_that_the_validation_rows_do_not_have_is_refused(tmp_path: Path) -> None:
    data = data_for(TaskKind.BINARY)
    frames = {**data.frames, "validation": data.frames["validation"].filter(pl.col("binary") == "yes")}
    with pytest.raises(ConfigError, match="'auroc', which is not defined on the validation rows"):
        fit(tmp_path, data=TabularDataModule(data.schema, frames, batch_size=64), metric="auroc")


def test_a_run_that_never_validates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`trainer\.check_val_every_n_epoch` is 5, but the run has 3 epochs"):
        fit(tmp_path, trainer={"check_val_every_n_epoch": 5, "max_epochs": 3})
    with pytest.raises(ConfigError, match="No validation has taken place"):
        fit(tmp_path, trainer={"max_time": "00:00:00:00"})


def test_an_interval_that_is_longer_than_an_epoch_is_refused(tmp_path: Path) -> None:
    sentence = r"`trainer\.val_check_interval` is 7, but an epoch has 6 batches: say at most that, or .*n_epoch: null`"
    with pytest.raises(ConfigError, match=sentence):
        fit(tmp_path, trainer={"val_check_interval": 7})
    with pytest.raises(ConfigError, match="an epoch has 1 batch: "):
        fit(tmp_path, trainer={"val_check_interval": 2, "limit_train_batches": 1})
    assert not list(tmp_path.iterdir())


class Validations(Callback):
    """After how many steps there was one."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize(("interval", "steps"), [(8, [8, 16, 18]), (9, [9, 18]), (100, [18])])
def test_validations_may_go_by_batches_on_from_epoch_to_epoch(tmp_path: Path, interval: int, steps: list[int]) -> None:
    settings = {"max_epochs": 3, "val_check_interval": interval, "check_val_every_n_epoch": None}
    validations = Validations()
    fit(tmp_path / "whole", trainer={**settings, "callbacks": validations})
    assert validations.steps == steps
    assert checkpoint(tmp_path / "whole", "last")["global_step"] == 18
    if interval == 8:
        fit_and_resume(tmp_path / "part", settings, KilledBefore(10))
        fit(tmp_path / "hasty", trainer=settings, **HASTY)
        assert_same_checkpoints(tmp_path / "hasty", tmp_path / "part")


def test_a_development_run_comes_to_an_end(tmp_path: Path) -> None:
    assert fit(tmp_path, trainer={"fast_dev_run": True}).metrics.keys() == {"validation", "test"}


@pytest.mark.parametrize(
    ("trainer", "training", "done"),
    [
        ({"max_epochs": 3}, {}, "3 epochs"),
        ({"max_epochs": 3, "val_check_interval": 0.5}, {}, "3 epochs"),
        ({"max_steps": 10, "max_epochs": 3}, {}, "1 epoch"),  # 6 steps each: in the midst of the second
        ({"max_steps": 12, "max_epochs": 3}, {"checkpoint_every_steps": 1}, "2 epochs"),
    ],
)
def test_a_run_knows_how_many_epochs_it_has_done(
    tmp_path: Path, trainer: dict[str, Any], training: dict[str, Any], done: str
) -> None:
    fit(tmp_path, trainer=trainer, **training)
    with pytest.raises(ConfigError, match=rf"^The run has done {done} already; raise `trainer\.max_epochs`"):
        train(
            data_for(TaskKind.BINARY),
            TINY,
            TrainingConfig(),
            {**QUIET, "max_epochs": 1},
            checkpoints=tmp_path,
            resume=True,
        )


def test_there_must_be_something_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"last\.ckpt: there is no checkpoint to resume from"):
        train(data_for(TaskKind.BINARY), TINY, TrainingConfig(), QUIET, checkpoints=tmp_path, resume=True)


@pytest.mark.parametrize(("key", "value"), [("accelerator", "gpuu"), ("strategy", "dpp"), ("devices", 0)])
def test_what_the_trainer_does_not_know_is_refused_in_its_words(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^`trainer`: .*{value}"):
        fit(tmp_path, trainer={key: value})


class InterruptAt(Callback):
    """Ctrl-C while a batch is worked on, counted over all epochs from 1."""

    def __init__(self, batch: int) -> None:
        self.batches_left = batch

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches_left -= 1
        if self.batches_left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("batch", [1, 3, 8])  # of 6 in an epoch, 4 of which make a step
def test_an_interrupted_run_with_accumulated_gradients_resumes_exactly(tmp_path: Path, batch: int) -> None:
    settings = {"accumulate_grad_batches": 4}
    fit(tmp_path / "whole", trainer=settings)
    stopped = fit(tmp_path / "part", trainer={**settings, "callbacks": [InterruptAt(batch)]})
    assert stopped.interrupted
    assert checkpoint(tmp_path / "part", "last")["global_step"] == (1 if batch < 4 else 3)
    resumed = fit(tmp_path / "part", trainer=settings, resume=True)
    assert not resumed.interrupted
    whole, part = (checkpoint(tmp_path / name, "last") for name in ("whole", "part"))
    assert whole["global_step"] == part["global_step"] == 4
    assert same(whole["state_dict"], part["state_dict"])


class KilledBefore(Callback):
    """The end of the process before a batch, counted over all epochs from 0."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.batch:
            raise TrainingError("killed")


#: A rate that makes the second epoch the best and not the last, so that a lost validation shows.
HASTY: dict[str, Any] = {"lr": 0.3, "muon_lr": 0.3}


def fit_and_resume(folder: Path, settings: Mapping[str, Any], end: Callback) -> None:
    """A run that ends early, and another that takes it up, if there is something to take up."""
    with pytest.raises(TrainingError, match="killed") if isinstance(end, KilledBefore) else nullcontext():
        fit(folder, trainer={**settings, "callbacks": [end]}, **HASTY)
    fit(folder, trainer=settings, resume=(folder / "last.ckpt").is_file(), **HASTY)


def assert_same_checkpoints(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        one, two = checkpoint(first, name), checkpoint(second, name)
        assert one["global_step"] == two["global_step"], name
        assert same(one["state_dict"], two["state_dict"]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"val_check_interval": 3, "accumulate_grad_batches": 2},  # every other validation in the midst of a step
        {"val_check_interval": 3, "accumulate_grad_batches": 4},
        {"val_check_interval": 2, "accumulate_grad_batches": 4},
        {"val_check_interval": 2},
    ],
)
def test_a_run_that_is_killed_between_validations_within_an_epoch_resumes_exactly(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"max_epochs": 3, **settings}
    fit(tmp_path / "whole", trainer=settings, **HASTY)
    for batch in (3, 4, 5, 9, 10, 11, 15):  # of 6 in an epoch
        fit_and_resume(tmp_path / f"killed-{batch}", settings, KilledBefore(batch))
        assert_same_checkpoints(tmp_path / "whole", tmp_path / f"killed-{batch}")


def test_a_checkpoint_holds_no_half_step(tmp_path: Path) -> None:
    settings = {"max_epochs": 1, "val_check_interval": 3, "accumulate_grad_batches": 2}
    fit(tmp_path / "whole", trainer=settings)
    with pytest.raises(TrainingError, match="killed"):
        fit(tmp_path / "part", trainer={**settings, "callbacks": [KilledBefore(3)]})
    assert not (tmp_path / "part" / "last.ckpt").exists()  # one of three batches would lack the third's gradients
    shutil.rmtree(tmp_path / "part")
    with pytest.raises(TrainingError, match="killed"):
        fit(tmp_path / "part", trainer={**settings, "callbacks": [KilledBefore(4)]})
    assert checkpoint(tmp_path / "part", "last")["global_step"] == 2
    fit(tmp_path / "part", trainer=settings, resume=True)
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 1}])
def test_a_signal_before_a_validation_does_not_lose_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = {"max_epochs": 3, **settings}
    fit(tmp_path / "whole", trainer=settings, **HASTY)
    fit_and_resume(tmp_path / "part", settings, InterruptAt(12))  # the last batch of the second epoch
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "part")


def test_the_seconds_are_those_of_all_sessions(tmp_path: Path) -> None:
    class Slow(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            time.sleep(1.0)

    first = fit(tmp_path, trainer={"max_epochs": 1, "callbacks": [Slow()]})
    second = fit(tmp_path, trainer={"max_epochs": 2}, resume=True)
    third = fit(tmp_path, trainer={"max_epochs": 2}, resume=True)  # has nothing left to do
    assert all(trained.train_seconds > 1 for trained in (first, second, third))


def test_a_run_that_was_moved_resumes_exactly(tmp_path: Path) -> None:
    settings = {"max_epochs": 3}
    fit(tmp_path / "whole", trainer=settings, **HASTY)
    fit(tmp_path / "part", trainer={**settings, "callbacks": [InterruptAt(13)]}, **HASTY)
    (tmp_path / "part").rename(tmp_path / "moved")
    fit(tmp_path / "moved", trainer=settings, resume=True, **HASTY)
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "moved")


def test_a_signal_behind_the_last_step_leaves_a_run_that_is_done(tmp_path: Path) -> None:
    assert not fit(tmp_path, trainer={"callbacks": [InterruptAt(12)]}).interrupted


def test_a_signal_stops_a_run_that_is_validated_behind_each_step(tmp_path: Path) -> None:
    stopped = fit(tmp_path, trainer={"val_check_interval": 1, "callbacks": [InterruptAt(2)]})
    assert stopped.interrupted
    assert checkpoint(tmp_path, "last")["global_step"] == 2


def test_callbacks_of_the_users_watch_a_metric_beside_ours_and_resume(tmp_path: Path) -> None:
    def callbacks() -> list[Callback]:
        return [EarlyStopping("val/log_loss"), ModelCheckpoint(tmp_path / "own", monitor="val/log_loss")]

    fit(tmp_path, trainer={"callbacks": callbacks()})
    resumed = fit(tmp_path, trainer={"max_epochs": 3, "callbacks": callbacks()}, resume=True)
    assert resumed.epochs == 3
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["epoch=2-step=18.ckpt"]


def test_a_checkpoint_callback_without_a_folder_writes_into_the_run(tmp_path: Path) -> None:
    train(
        data_for(TaskKind.BINARY),
        TINY,
        TrainingConfig(),
        {**QUIET, "max_epochs": 1, "callbacks": ModelCheckpoint(monitor="val/auroc", mode="max")},
        checkpoints=tmp_path / "checkpoints",
        loggers=[MetricsCSV(tmp_path / "metrics.csv")],
    )
    assert (tmp_path / "callbacks" / "checkpoints" / "epoch=0-step=6.ckpt").is_file()
    assert (tmp_path / "metrics.csv").is_file()


@pytest.mark.parametrize(
    ("callbacks", "sentence"),
    [
        ([EarlyStopping("val/los")], "EarlyStopping monitors 'val/los', which this run does not log; it logs train/"),
        ([KilledBefore(99), EarlyStopping("own")], "metric `own` which is not available.*`val/accuracy`, "),
        ([ModelCheckpoint(), ModelCheckpoint()], "more than one stateful callback of type `ModelCheckpoint`"),
    ],
)
def test_callbacks_that_cannot_be_are_one_sentence(tmp_path: Path, callbacks: list[Callback], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^`trainer.*{sentence}"):
        fit(tmp_path, trainer={"callbacks": callbacks})


class Fails(Callback):
    """As a loss that is no number."""

    def on_train_batch_end(self, *_: Any) -> None:
        raise TrainingError("no number")


@pytest.mark.parametrize("end", [None, InterruptAt(2), Fails()])
def test_signals_are_given_back_however_training_ends(tmp_path: Path, end: Callback | None) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingError) if isinstance(end, Fails) else nullcontext():
        fit(tmp_path, trainer={"callbacks": [end] if end else []})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


class NeedsAPackage(Callback):
    """As Lightning's monitors of devices, without the package that reads them."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        raise ModuleNotFoundError("`Monitor` cannot log as `psutil` is not installed.")


def test_a_package_that_the_trainer_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^`trainer`: `Monitor` cannot log as `psutil` is not installed"):
        fit(tmp_path, trainer={"callbacks": [NeedsAPackage()]})


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`trainer\.max_epochs`"):
        fit(tmp_path, trainer={"max_epochs": -1})


@pytest.mark.parametrize(
    ("batches", "limit", "accumulate", "epochs", "max_steps", "expected"),
    [
        (10, 1.0, 1, 3, -1, 30),
        (10, 1.0, 4, 3, -1, 9),  # the last, smaller group of an epoch takes a step too
        (10, 4, 1, 3, -1, 12),
        (10, 0.5, 1, 3, -1, 15),
        (10, 20, 1, 3, -1, 30),
        (10, 1.0, 1, 3, 7, 7),
        (10, 1.0, 1, 3, 70, 30),
        (10, 1.0, 1, -1, 70, 70),
        (10, 1.0, 1, None, 70, 70),
    ],
)
def test_steps_of_a_run(
    batches: int, limit: float, accumulate: int, epochs: int | None, max_steps: int, expected: int
) -> None:
    trainer: Any = SimpleNamespace(
        datamodule=SimpleNamespace(train_dataloader=lambda: range(batches)),
        limit_train_batches=limit,
        accumulate_grad_batches=accumulate,
        max_epochs=epochs,
        max_steps=max_steps,
    )
    assert total_steps(trainer) == expected


def test_the_mean_loss_of_an_epoch_is_the_mean_of_its_batches(tmp_path: Path) -> None:
    class Losses(Callback):
        def __init__(self) -> None:
            self.batches: list[float] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.batches.append(float(outputs["loss"]))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.mean = float(pl_module.epoch_loss)

    losses = Losses()
    fit(tmp_path, trainer={"max_epochs": 1, "callbacks": [losses]})
    assert len(losses.batches) == 6
    assert losses.mean == pytest.approx(math.fsum(losses.batches) / 6, rel=1e-5)


@pytest.mark.parametrize("batch", [8, 12])  # of 6 in an epoch: in the midst of the second, and at its end
def test_the_mean_loss_of_an_epoch_survives_a_resume(tmp_path: Path, batch: int) -> None:
    def run(name: str, *ends: Callback, resume: bool = False) -> str:
        log = tmp_path / f"{name}.csv"
        with pytest.raises(TrainingError, match="killed") if ends else nullcontext():
            train(
                data_for(TaskKind.BINARY),
                TINY,
                TrainingConfig(checkpoint_every_steps=1),
                {**QUIET, "max_epochs": 3, "callbacks": [EarlyStopping("train/loss", patience=9), *ends]},
                checkpoints=tmp_path / name,
                loggers=[MetricsCSV(log, resume=resume)],
                resume=resume,
            )
        return log.read_text()

    whole = run("whole")
    run("part", KilledBefore(batch))
    assert run("part", resume=True) == whole


def test_a_run_ended_by_its_training_loss_stays_as_it_is(tmp_path: Path) -> None:
    def epochs(*, resume: bool) -> int:
        callback = EarlyStopping("train/loss", patience=1, min_delta=100.0)
        return fit(tmp_path, trainer={"max_epochs": 9, "callbacks": callback}, resume=resume).epochs

    assert epochs(resume=False) == 2
    before = (tmp_path / "last.ckpt").read_bytes()
    assert epochs(resume=True) == 2
    assert (tmp_path / "last.ckpt").read_bytes() == before


def heteroscedastic(rows: int, seed: int) -> pl.DataFrame:
    """A number whose noise grows with `x`: its quantiles are not parallel."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 1, rows)
    return pl.DataFrame({"x": x, "y": 10 * x + (0.2 + 3 * x) * random.normal(size=rows)})


def noisy_data(validation: int = 400) -> TabularDataModule:
    frames: dict[Part, pl.DataFrame] = {
        "train": heteroscedastic(1_200, 0),
        "validation": heteroscedastic(validation, 1),
        "test": heteroscedastic(2_000, 2),
    }
    return TabularDataModule(infer_schema(frames["train"], ["y"]), frames, batch_size=64)


@pytest.mark.parametrize("loss", ["squared", "quantile"])
def test_an_interval_holds_its_share_of_rows_held_out(loss: str, tmp_path: Path) -> None:
    data = noisy_data()
    trained = fit(tmp_path, data=data, trainer={"max_epochs": 8}, interval=0.8, loss=loss)
    interval = trained.calibration.interval
    assert interval is not None
    # Given 400 validation rows, the share of new rows has a standard deviation of 0.02, that of 2,000 of them 0.009.
    assert trained.metrics["test"]["coverage"] == pytest.approx(0.8, abs=0.09)
    made = data.preprocessor.target_.values(trained.outputs["test"], interval)
    width, x = made[:, 2] - made[:, 1], data.frames["test"]["x"].to_numpy()
    assert trained.metrics["test"]["interval_width"] == pytest.approx(width.mean())
    if loss == "squared":
        np.testing.assert_allclose(width, width[0])
    else:
        assert trained.outputs["test"].shape == (2_000, 3)
        assert (np.diff(trained.outputs["test"], axis=1) >= 0).all()
        assert width[x > 0.8].mean() > 2 * width[x < 0.2].mean()


def test_too_few_validation_rows_for_an_interval_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for which it takes 19 validation rows; there are 12"):
        fit(tmp_path, data=noisy_data(validation=12), interval=0.95)
    assert not list(tmp_path.iterdir())


def test_class_weights_move_the_answers_towards_their_class(tmp_path: Path) -> None:
    plain, weighted = (
        fit(tmp_path / name, data=data_for(TaskKind.BINARY), class_weights=given, calibrate=False)
        for name, given in (("plain", None), ("weighted", {"yes": 20}))
    )
    assert weighted.outputs["test"].mean() > plain.outputs["test"].mean() + 0.1


def test_equal_weights_change_nothing(tmp_path: Path) -> None:
    plain = fit(tmp_path / "plain")
    equal = fit(tmp_path / "equal", class_weights={"yes": 1.0})
    assert same(weights(plain), weights(equal))
    data = data_for(TaskKind.BINARY, weight="weight")
    frames = {part: frame.with_columns(weight=pl.lit(0.3)) for part, frame in data.frames.items()}
    equal = fit(tmp_path / "rows", data=TabularDataModule(data.schema, frames, batch_size=64))
    assert same(weights(plain), weights(equal))


class Gradients(Callback):
    """Keeps those of the last step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = pl_module.net.named_parameters()
        self.found = {name: value.grad.clone() for name, value in named if value.grad is not None}


def test_weighted_rows_have_the_same_gradient_in_one_batch_and_in_many(tmp_path: Path) -> None:
    data = data_for(TaskKind.BINARY, weight="weight")
    frames = {part: frame.with_columns(weight=10.0 ** pl.col("weight")) for part, frame in data.frames.items()}
    one, many = Gradients(), Gradients()
    for batches, gradients in ((1, one), (8, many)):
        settings = {"accumulate_grad_batches": batches, "gradient_clip_val": 0.0, "callbacks": gradients}
        fit(
            tmp_path / str(batches),
            data=TabularDataModule(data.schema, frames, batch_size=400 // batches),
            model=replace(TINY, dropout=0.0),
            trainer={**settings, "max_epochs": 1},
            class_weights="balanced",
        )
    for name, value in one.found.items():
        torch.testing.assert_close(many.found[name], value, rtol=1e-4, atol=1e-6, msg=name)
