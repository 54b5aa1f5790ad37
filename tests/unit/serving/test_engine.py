"""A batch of many clients' questions: each gets its own answer, right or wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlpipe.bundle.ensemble import read_contents
from mlpipe.bundle.predictor import Predictor
from mlpipe.errors import BundleError
from mlpipe.schema import TaskKind
from mlpipe.serving.engine import Served, work
from mlpipe.serving.settings import Checks
from mlpipe.serving.wire import Answer, Kind, Question


@pytest.fixture
def served(binary: Any, tmp_path: Path) -> Served:
    return Served.of(read_contents(binary.write(tmp_path / "bundle")), "shop", Checks())


def rows(source: Any, count: int) -> list[dict[str, Any]]:
    frame = source.frame.select(column.name for column in source.schema.features).head(count)
    found: list[dict[str, Any]] = json.loads(frame.with_columns(day=frame["day"].cast(str)).write_json())
    return found


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".ndjson"])
@pytest.mark.parametrize("huge", [1e300, -1e101])
def test_a_number_that_is_too_large_is_missing_in_a_request_as_it_is_in_a_file(
    binary: Any, served: Served, tmp_path: Path, huge: float, ending: str
) -> None:
    (row,) = rows(binary, 1)
    frame = binary.frame.head(1).with_columns(age=pl.lit(huge))
    writers = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".ndjson": frame.write_ndjson}
    writers[ending](tmp_path / f"rows{ending}")
    Predictor.load(tmp_path / "bundle").predict_file(tmp_path / f"rows{ending}", tmp_path / "out.parquet")
    (expected,) = pl.read_parquet(tmp_path / "out.parquet")["confidence"]
    asked = [question({**row, "age": age}) for age in (huge, str(huge), None)]
    answers = [json.loads(answer.body) for answer in work(asked, [served]).answers]
    assert [answer["confidence"] for answer in answers] == pytest.approx([expected] * 3, abs=1e-6)


@pytest.mark.parametrize("age", [1e300, "1e300", "-1e101", 1e6, "1e6"])
def test_strict_ranges_refuse_it_by_name_also_as_text(binary: Any, tmp_path: Path, age: Any) -> None:
    contents = read_contents(binary.write(tmp_path / "bundle"))
    strict = Served.of(contents, "shop", Checks(ranges="error"))
    statistics = replace(contents.statistics, ranges={})  # as of a column that held no number in training
    blank = Served.of(replace(contents, statistics=statistics), "shop", Checks(ranges="error"))
    (row,) = rows(binary, 1)
    (answer,) = work([question({**row, "age": age})], [strict]).answers
    (fault,) = json.loads(answer.body)["detail"]
    assert (answer.status, fault["loc"]) == (422, ["body", "age"])
    assert f"the field 'age' is {float(age):g}; it has to be from " in fault["msg"]
    (answer,) = work([question({**row, "age": age})], [blank]).answers
    assert answer.status == (422 if abs(float(age)) > 1e100 else 200)
    for missing in (None, "nan", " "):
        (answer,) = work([question({**row, "age": missing})], [strict]).answers
        assert answer.status == 200


def question(payload: Any, kind: Kind = Kind.PREDICT, slot: int = 0) -> Question:
    return Question(kind, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), slot)


def test_every_question_of_a_batch_gets_its_own_answer(binary: Any, served: Served, tmp_path: Path) -> None:
    asked = rows(binary, 6)
    expected = Predictor.load(tmp_path / "bundle").predict(binary.frame.head(6))["confidence"].to_list()
    bad = {**asked[1], "age": "old"}
    worked = work(
        [
            question(asked[0]),
            question(b"{"),
            question(asked[1:4]),
            question([asked[4], bad, asked[5]]),
            question({"dataframe_records": asked[4:]}, Kind.INVOCATIONS),
            question([]),
        ],
        [served],
    )
    told = [json.loads(answer.body) for answer in worked.answers]
    assert [answer.status for answer in worked.answers] == [200, 422, 200, 422, 200, 200]
    assert told[0]["confidence"] == pytest.approx(expected[0], abs=1e-6)
    assert [row["confidence"] for row in told[2]["predictions"]] == pytest.approx(expected[1:4], abs=1e-6)
    assert told[3]["detail"] == [
        {
            "type": "value_error",
            "loc": ["body", 1, "age"],
            "msg": "Row 1: the field 'age': expected a number, got 'old'.",
        }
    ]
    assert [row["confidence"] for row in told[4]["predictions"]] == pytest.approx(expected[4:], abs=1e-6)
    assert told[5] == {"predictions": [], "model_version": served.version}
    assert worked.rows == 1 + 3 + 3 + 2
    assert set(worked.stages) == {"parse", "preprocess", "model", "encode"}


@pytest.mark.parametrize("kind", list(TaskKind))
def test_tensors_of_every_task(fitted: Callable[..., Any], kind: TaskKind, tmp_path: Path) -> None:
    source = fitted(kind)
    served = Served.of(read_contents(source.write(tmp_path / "bundle")), "shop", Checks())
    asked = rows(source, 3)
    kinds = {"age": "FP64", "visits": "INT64", "member": "BOOL"}
    inputs = [
        {"name": name, "shape": [3], "datatype": kinds.get(name, "BYTES"), "data": [row[name] for row in asked]}
        for name in asked[0]
    ]
    answers = work([question({"inputs": inputs}, Kind.INFER), question(asked)], [served]).answers
    tensors, plain = (json.loads(answer.body) for answer in answers)
    assert tensors["model_name"] == "shop"
    outputs = {output["name"]: output["data"] for output in tensors["outputs"]}
    if kind is TaskKind.MULTILABEL:
        chosen = [name in row["prediction"] for row in plain["predictions"] for name in ("red", "blue")]
        assert outputs["prediction"] == chosen
    elif kind is TaskKind.REGRESSION:  # rows of one batch need not be rounded alike
        assert outputs["prediction"] == pytest.approx([row["prediction"] for row in plain["predictions"]], abs=1e-3)
    else:
        assert outputs["prediction"] == [row["prediction"] for row in plain["predictions"]]


def test_questions_go_to_the_version_of_their_slot(fitted: Callable[..., Any], tmp_path: Path) -> None:
    versions = [
        Served.of(read_contents(fitted(TaskKind.BINARY, seed).write(tmp_path / str(seed))), "shop", Checks())
        for seed in (1, 2)
    ]
    row = rows(fitted(TaskKind.BINARY, 1), 1)[0]
    answers = work([question(row, slot=slot) for slot in (1, 0, 1)], versions).answers
    told = [json.loads(answer.body)["model_version"] for answer in answers]
    assert told == [versions[1].version, versions[0].version, versions[1].version]


def test_a_question_that_breaks_the_work_breaks_it_for_itself_alone(
    binary: Any, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_rows = served.online.answer

    def fragile(asked: Any) -> Any:
        if any(row[2] == "poison" for row in asked):
            raise RuntimeError("the model broke")
        return answer_rows(asked)

    monkeypatch.setattr(served.online, "answer", fragile)
    first, second = rows(binary, 2)
    with caplog.at_level(logging.ERROR):
        worked = work([question(first), question({**second, "city": "poison"}), question(second)], [served])
    assert [answer.status for answer in worked.answers] == [200, 500, 200]
    assert json.loads(worked.answers[1].body) == {
        "detail": "The server failed to answer this request; its log says why."
    }
    assert "the model broke" in caplog.text


def test_numbers_beyond_those_of_training_are_refused_on_request(binary: Any, tmp_path: Path) -> None:
    served = Served.of(read_contents(binary.write(tmp_path / "bundle")), "shop", Checks(ranges="error"))
    row = rows(binary, 2)[1]
    largest = binary.frame["visits"].max()
    answers = work([question({**row, "visits": visits}) for visits in (largest, largest + 1)], [served]).answers
    assert [answer.status for answer in answers] == [200, 422]
    assert json.loads(answers[1].body)["detail"][0]["loc"] == ["body", "visits"]
    assert f"it has to be from 0 to {largest}" in json.loads(answers[1].body)["detail"][0]["msg"]


def test_documents_are_answered_as_they_are(served: Served, binary: Any, tmp_path: Path) -> None:
    page = Answer(200, b"<p>")
    documented = Served("shop", "v", served.online, served.rules, served.sample, documents={Kind.MODEL: lambda: page})
    worked = work([Question(Kind.MODEL, b""), question(rows(binary, 1)[0])], [documented])
    assert worked.answers[0] is page
    assert worked.answers[1].status == 200


def test_a_bundle_that_cannot_answer_its_own_sample_is_refused(binary: Any, tmp_path: Path) -> None:
    row = {**binary.frame.row(0, named=True), "age": "old"}
    bundle = binary.write(tmp_path / "bundle", sample_row=row)
    with pytest.raises(BundleError, match=r"sample_request.json cannot be answered \(row 0, field 'age': expected"):
        Served.of(read_contents(bundle), "shop", Checks())
