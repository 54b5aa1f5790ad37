"""However rows come, a bundle gives the predictions that the model in memory gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from mlpipe.bundle.network import Outputs
from mlpipe.bundle.predictor import ModelPredictor, Predictor
from mlpipe.errors import InputError
from mlpipe.features.calibration import Calibration
from mlpipe.models.heads import member_average
from mlpipe.schema import TaskKind


@pytest.fixture
def predictor(binary: Any, tmp_path: Path) -> Predictor:
    return Predictor.load(binary.write(tmp_path / "bundle"))


def direct(source: Any, temperature: float = 1.5) -> pl.DataFrame:
    """As training evaluates: arrays, model, average, decode, without a bundle."""
    arrays = source.preprocessor.transform(source.frame)
    with torch.inference_mode():
        logits = source.model(*(torch.from_numpy(x) for x in (arrays.numeric, arrays.missing, arrays.categorical)))
        outputs = member_average(logits, source.schema.task.kind, temperature)
    frame: pl.DataFrame = source.preprocessor.target_.decode(outputs.numpy())
    return frame


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_bundle_predicts_what_the_model_does(
    fitted: Callable[[TaskKind], Any], kind: TaskKind, tmp_path: Path
) -> None:
    source = fitted(kind)
    expected = direct(source)
    assert expected["prediction"].n_unique() > 1
    predictor = Predictor.load(source.write(tmp_path / "bundle"))
    one_by_one = pl.concat([predictor.predict(row) for row in source.frame.head(40).to_dicts()])
    unit = 1.0
    if kind is TaskKind.REGRESSION:  # 1e-5 of what the model gives, which is in standard deviations
        unit = source.frame["price"].std()
    assert_frame_equal(predictor.predict(source.frame), expected, rel_tol=0, abs_tol=1e-5 * unit)
    assert_frame_equal(one_by_one, expected.head(40), rel_tol=0, abs_tol=1e-5 * unit)


def test_every_form_of_rows_gives_the_same(binary: Any, predictor: Predictor) -> None:
    frame = binary.frame.head(20)
    expected = predictor.predict(frame)
    for rows in (frame.to_dicts(), frame.lazy(), frame.to_pandas(), frame.select(pl.all().reverse()).reverse()):
        assert_frame_equal(predictor.predict(rows), expected, abs_tol=1e-6)
    assert_frame_equal(predictor.predict(frame.select(reversed(frame.columns))), expected, abs_tol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_the_batch_size_changes_nothing(binary: Any, predictor: Predictor, batch_size: int) -> None:
    frame = binary.frame.head(60)
    assert_frame_equal(predictor.predict(frame, batch_size=batch_size), predictor.predict(frame), abs_tol=1e-5)


def test_no_rows_give_no_predictions_of_the_same_columns(binary: Any, predictor: Predictor) -> None:
    expected = predictor.predict(binary.frame.head(1)).schema
    for predictions in (predictor.predict([]), predictor.predict(binary.frame.head(0))):
        assert predictions.is_empty()
        assert predictions.schema == expected


def test_the_temperature_is_applied(binary: Any, tmp_path: Path) -> None:
    cold, warm = (Predictor.load(binary.write(tmp_path / str(t), calibration=Calibration(t))) for t in (0.5, 5.0))
    confidence = [p.predict(binary.frame)["confidence"].to_numpy().mean() for p in (cold, warm)]
    assert confidence[0] > confidence[1] + 0.02


def test_dropout_is_off(binary: Any) -> None:
    binary.model.train()
    predictor = ModelPredictor(
        schema=binary.schema, preprocessor=binary.preprocessor, model=binary.model, statistics=binary.statistics
    )
    assert predictor.predict(binary.frame).equals(predictor.predict(binary.frame))
    assert_frame_equal(predictor.predict(binary.frame), direct(binary, temperature=1.0), abs_tol=1e-5)


def test_outputs_are_float32_without_gradients(binary: Any, predictor: Predictor) -> None:
    assert isinstance(predictor, ModelPredictor)
    outputs = predictor.predict_arrays(binary.preprocessor.transform(binary.frame))
    assert outputs.dtype == np.float32
    assert outputs.shape == (300, 1)


def test_a_row_without_a_feature_is_refused(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="visits"):
        predictor.predict({"age": 1, "city": "x", "member": True, "day": "2024-01-01"})


def test_an_answer_that_is_not_finite_is_never_given(binary: Any, tmp_path: Path) -> None:
    predictor = Predictor.load(binary.write(tmp_path / "bundle"))

    def run(network: Callable[[], Outputs]) -> Outputs:
        outputs = network()
        outputs[-1] = np.nan
        return outputs

    with pytest.raises(InputError, match="no finite answer") as caught:
        predictor.predict_with(run, binary.frame.head(5), batch_size=4)
    assert caught.value.row == 3
