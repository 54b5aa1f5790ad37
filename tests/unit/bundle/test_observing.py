"""A file's rows are counted as if they had been observed in memory, whichever file they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.bundle.describing import ensemble_statistics
from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.observing import observe_file
from mlpipe.bundle.online import OnlinePredictor
from mlpipe.bundle.predictor import Predictor
from mlpipe.errors import ConfigError, DataError
from mlpipe.features.describe import describe_answers
from mlpipe.features.drift import DriftMeter
from mlpipe.schema import Task, TaskKind

TASK = Task(TaskKind.REGRESSION, ("price",))


@pytest.fixture
def predictor(binary: Any, tmp_path: Path) -> Predictor:
    return Predictor.load(binary.write(tmp_path / "bundle"))


def meter_of(predictor: Predictor) -> DriftMeter:
    kind = predictor.schema.task.kind
    return DriftMeter(predictor.statistics, kind, threshold=predictor.threshold, window=None)


def directly(predictor: Predictor, frame: pl.DataFrame) -> list[int]:
    meter = meter_of(predictor)
    meter.observe_predictions(predictor.values(frame, observe=meter.observe))
    counted: list[int] = meter.counts().tolist()
    return counted


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_is_counted_as_its_rows_are(
    fitted: Callable[[TaskKind], Any], kind: TaskKind, ending: str, tmp_path: Path
) -> None:
    source = fitted(kind)
    predictor = Predictor.load(source.write(tmp_path / "bundle"))
    many = pl.concat([source.frame] * 40)
    path = tmp_path / f"rows{ending}"
    (many.write_csv if ending == ".csv" else many.write_parquet)(path)
    meter = meter_of(predictor)
    assert observe_file(predictor, meter, path, batch_size=1_000) == 12_000
    assert meter.counts().tolist() == directly(predictor, many)


def test_requests_are_counted_as_files_are(binary: Any, predictor: Predictor) -> None:
    meter = meter_of(predictor)
    features = [column.name for column in binary.schema.features]
    answered = OnlinePredictor(predictor).answer(binary.frame.select(features).rows())
    meter.observe(answered.arrays)
    meter.observe_predictions(answered.values)
    assert meter.counts().tolist() == directly(predictor, binary.frame)


def test_training_rows_are_stable(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    binary.frame.write_csv(tmp_path / "rows.csv")
    meter = meter_of(predictor)
    observe_file(predictor, meter, tmp_path / "rows.csv")
    *features, prediction = meter.report()
    assert {record.psi for record in features} == {0.0}
    # The fixture's statistics are of answers before the temperature, which tell a row or two otherwise.
    assert prediction.verdict == "stable"


def test_a_log_of_requests_is_taken_as_it_is(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    features = [column.name for column in binary.schema.features]
    log = binary.frame.select(
        pl.lit("no").alias("prediction"),
        *features,
        pl.lit("9c0366610d78").alias("model_version"),
        pl.int_range(pl.len()).cast(pl.String).alias("request_id"),
        pl.lit("2026-01-31T12:00:00Z").alias("time"),
    )
    for part in range(3):
        log.slice(part * 100, 100).write_parquet(tmp_path / f"log-{part}.parquet")
    meter = meter_of(predictor)
    assert observe_file(predictor, meter, tmp_path / "log-*.parquet") == 300
    assert meter.counts().tolist() == directly(predictor, binary.frame)


def test_features_that_are_left_out_need_not_be_there(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    binary.frame.drop("city", "age").write_parquet(tmp_path / "log.parquet")
    meter = meter_of(predictor)
    assert observe_file(predictor, meter, tmp_path / "log.parquet", without=["city", "age"]) == binary.frame.height
    records = meter.report(without=["city", "age"])
    assert {record.kind for record in records} == {"feature"}  # what is predicted without them says nothing
    every = meter_of(predictor)
    every.observe(predictor.preprocessor.transform(binary.frame))  # type: ignore[attr-defined]  # of one model
    others = [record for record in every.report() if record.kind == "feature" and record.feature not in ("city", "age")]
    assert records == others
    with pytest.raises(ConfigError, match=r"no feature 'cty' to leave out\. Did you mean 'city'"):
        observe_file(predictor, meter, tmp_path / "log.parquet", without=["cty"])


def test_an_ensemble_compares_with_the_training_rows_of_all_its_members(
    fitted: Callable[..., Any], tmp_path: Path
) -> None:
    sources = [fitted(TaskKind.REGRESSION, seed=seed) for seed in (0, 1)]
    members = [read_bundle(source.write(tmp_path / str(index))) for index, source in enumerate(sources)]
    rows = pl.concat([source.frame for source in sources])
    answers = describe_answers(np.mean([Predictor.of(member).values(rows) for member in members], axis=0), TASK)
    statistics = ensemble_statistics(members[-1], rows, answers)
    described: dict[str, Any] = {"statistics": statistics, "metrics": {}, "model_card": "# Two\n"}
    predictor = Predictor.load(write_ensemble(tmp_path / "bundle", members, **described))
    assert predictor.statistics == statistics
    rows.write_parquet(tmp_path / "rows.parquet")
    meter = meter_of(predictor)
    observe_file(predictor, meter, tmp_path / "rows.parquet")
    *features, prediction = meter.report()
    assert {(record.rows, record.psi) for record in features} == {(600, 0.0)}
    assert (prediction.kind, prediction.rows, prediction.verdict) == ("prediction", 600, "stable")


def test_a_missing_column_is_named(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    binary.frame.drop("city").write_csv(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"rows\.csv has no column 'city', which the model needs"):
        observe_file(predictor, meter_of(predictor), tmp_path / "rows.csv")


def test_values_that_cannot_be_read_are_counted(
    binary: Any, predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    binary.frame.with_columns(age=pl.lit("n.n.")).write_csv(tmp_path / "rows.csv")
    meter = meter_of(predictor)
    observe_file(predictor, meter, tmp_path / "rows.csv")
    assert f"{tmp_path / 'rows.csv'}: 300 values of 'age' could not be read and were taken as missing." in caplog.text
    assert {record.feature: record.missing for record in meter.report()}["age"] == 1.0
