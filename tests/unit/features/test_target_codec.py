from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpipe.errors import DataError
from mlpipe.features.target import TargetCodec
from mlpipe.schema import Task, TaskKind


def binary(*classes: object) -> TargetCodec:
    return TargetCodec(Task(TaskKind.BINARY, ("y",), classes))  # type: ignore[arg-type]


def frame(values: object) -> pl.DataFrame:
    return pl.DataFrame({"y": values})


@pytest.mark.parametrize(
    ("classes", "values"),
    [
        ((0, 1), [0, 1, 1]),
        ((0, 1), ["0", " 1", "1.0"]),
        ((0, 1), [0.0, 1.0, 1.0]),
        ((0.0, 1.0), [0, 1, 1]),
        (("0", "1"), [0, 1, 1]),
        ((False, True), [False, True, True]),
        ((False, True), ["FALSE", "True", "1"]),
        ((False, True), [0, 1, 1]),
        (("no", "yes"), ["no", "yes ", "yes"]),
    ],
)
def test_a_label_is_the_same_in_every_type(classes: tuple[object, ...], values: object) -> None:
    ids = binary(*classes).encode(frame(values))
    assert ids.dtype == np.int64
    assert ids.tolist() == [0, 1, 1]


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(DataError) as caught:
        binary("<=50K", ">50K").encode(frame(["<=50K", ">50K.", ">50K."]), "adult.test")
    assert str(caught.value) == (
        "adult.test: label '>50K.' in the target column 'y' is none of the classes (2 rows have such a label). "
        "Did you mean '>50K'?"
    )


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTILABEL, TaskKind.REGRESSION])
@pytest.mark.parametrize("values", [[1.0, None, math.nan], ["1", "", None]])
def test_null_targets_are_counted(kind: TaskKind, values: object) -> None:
    classes: tuple[object, ...] = {TaskKind.BINARY: (0, 1), TaskKind.MULTILABEL: ("y",)}.get(kind, ())
    codec = TargetCodec(Task(kind, ("y",), classes))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"the table: 2 rows have no (label|number) in the target column 'y'"):
        codec.encode(frame(values))


def test_a_missing_target_column_is_named() -> None:
    with pytest.raises(DataError, match=r"the table: there is no target column 'y'. There are: z."):
        binary(0, 1).encode(pl.DataFrame({"z": [1]}))


def test_binary_outputs_are_the_probability_of_the_second_class() -> None:
    made = binary(False, True).decode(np.array([[0.25], [0.75]], dtype=np.float32))
    assert made.columns == ["prediction", "probability_false", "probability_true", "confidence"]
    assert made.rows() == [(False, 0.75, 0.25, 0.75), (True, 0.25, 0.75, 0.75)]


@pytest.mark.parametrize(("classes", "dtype"), [((3, 1, 2), pl.Int64), (("c", "a", "b"), pl.String)])
def test_multiclass_predictions_are_labels_as_they_stand_in_the_data(
    classes: tuple[object, ...], dtype: pl.DataType
) -> None:
    codec = TargetCodec(Task(TaskKind.MULTICLASS, ("y",), classes))  # type: ignore[arg-type]
    assert codec.encode(frame(list(classes))).tolist() == [0, 1, 2]
    made = codec.decode(np.array([[0.125, 0.25, 0.625], [0.5, 0.25, 0.25]], dtype=np.float32))
    assert made.columns == ["prediction", *(f"probability_{label}" for label in classes), "confidence"]
    assert made.schema["prediction"] == dtype
    assert made["prediction"].to_list() == [classes[2], classes[0]]
    assert made["confidence"].to_list() == [0.625, 0.5]


def test_multilabel() -> None:
    codec = TargetCodec(Task(TaskKind.MULTILABEL, ("a", "b"), ("a", "b")))
    target = codec.encode(pl.DataFrame({"a": [1, 0], "b": ["true", "false"]}))
    assert target.dtype == np.float32
    assert target.tolist() == [[1, 1], [0, 0]]
    made = codec.decode(np.array([[0.75, 0.625], [0.25, 0.125]], dtype=np.float32))
    assert made["prediction"].to_list() == [["a", "b"], []]
    assert made.columns == ["prediction", "probability_a", "probability_b"]
    with pytest.raises(DataError, match="label 2 in the target column 'a'"):
        codec.encode(pl.DataFrame({"a": [2], "b": [0]}))


@pytest.mark.parametrize("transform", ["none", "log"])
def test_regression_is_standardised_and_comes_back_in_its_own_units(transform: str) -> None:
    codec = TargetCodec(Task(TaskKind.REGRESSION, ("y",)), transform)  # type: ignore[arg-type]
    values = [0.0, 10.0, 20.0, 1000.0]
    target = codec.fit(frame(values)).encode(frame([str(value) for value in values]))
    assert target.dtype == np.float32
    assert target.mean() == pytest.approx(0, abs=1e-6)
    assert target.std() == pytest.approx(1)
    outputs = target[:, None].astype(np.float32)
    made = codec.decode(outputs)
    assert made.columns == ["prediction"]
    np.testing.assert_allclose(made["prediction"], values, rtol=1e-5, atol=1e-4)
    again = TargetCodec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.decode(outputs).equals(made)


def test_log_needs_targets_that_are_not_negative() -> None:
    codec = TargetCodec(Task(TaskKind.REGRESSION, ("y",)), "log")
    with pytest.raises(DataError, match=r"the target column 'y' has -3; `features.target_transform: log` needs"):
        codec.fit(frame([1.0, -3.0]))


def test_a_constant_target_has_scale_one() -> None:
    codec = TargetCodec(Task(TaskKind.REGRESSION, ("y",))).fit(frame([5, 5]))
    assert (codec.mean, codec.scale) == (5.0, 1.0)


def test_outputs_gone_wild_stay_finite() -> None:
    codec = TargetCodec(Task(TaskKind.REGRESSION, ("y",)), "log").fit(frame([1.0, 1e9]))
    assert codec.decode(np.array([[1e6]], dtype=np.float32))["prediction"].is_finite().all()


def test_no_rows() -> None:
    assert binary("a", "b").decode(np.zeros((0, 1), dtype=np.float32)).height == 0


@pytest.mark.parametrize(
    ("task", "width"),
    [
        (Task(TaskKind.BINARY, ("y",), (False, True)), 1),
        (Task(TaskKind.MULTICLASS, ("y",), (1, 2, 30)), 3),
        (Task(TaskKind.MULTILABEL, ("a", "b"), ("a", "b")), 2),
        (Task(TaskKind.REGRESSION, ("y",)), 1),
        (Task(TaskKind.REGRESSION, ("y",)), 3),
    ],
)
@given(st.data())
def test_records_say_what_the_frame_says(task: Task, width: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 4))
    values = data.draw(arrays(np.float32, (rows, width), elements=st.floats(0, 1, width=32)))
    codec, threshold = TargetCodec(task), data.draw(st.sampled_from([0.5, 0.2]))
    expected = codec.answers(values, threshold).to_dicts()
    for record, row in zip(codec.records(values, threshold), expected, strict=True):
        probabilities = {f"probability_{name}": p for name, p in record.pop("probabilities", {}).items()}
        assert record | probabilities == row
        assert type(record["prediction"]) is type(row["prediction"])
