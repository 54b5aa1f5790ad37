"""The request log: Parquet files that the readers of such logs understand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpipe.bundle.ensemble import read_contents
from mlpipe.bundle.predictor import Predictor
from mlpipe.schema import TaskKind
from mlpipe.serving import recorder as module
from mlpipe.serving.engine import Exchange, Served, work
from mlpipe.serving.recorder import Recorder
from mlpipe.serving.requestlog import read_answers
from mlpipe.serving.settings import Checks, Recording
from mlpipe.serving.wire import Kind, Question


def exchanges(source: Any, served: Served, count: int, rows: int = 1) -> list[Exchange]:
    frame = source.frame.select(column.name for column in source.schema.features).head(count * rows)
    found = json.loads(frame.with_columns(day=frame["day"].cast(str)).write_json())
    bodies = [found[rows * i : rows * (i + 1)] if rows > 1 else found[i] for i in range(count)]
    asked = [Question(Kind.PREDICT, json.dumps(body).encode(), 0, b"r%d" % i) for i, body in enumerate(bodies)]
    return work(asked, [served]).exchanges


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "*.parquet").sort("request_id", maintain_order=True)


@pytest.fixture
def served(binary: Any, tmp_path: Path) -> Served:
    return Served.of(read_contents(binary.write(tmp_path / "bundle")), "shop", Checks())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_log_says_what_the_predictor_says_of_its_own_rows(
    fitted: Callable[..., Any], kind: TaskKind, tmp_path: Path, folder: Path
) -> None:
    source = fitted(kind)
    bundle = source.write(tmp_path / "bundle")
    recorder = Recorder(Recording(folder))
    recorder.take(exchanges(source, Served.of(read_contents(bundle), "shop", Checks()), 9))
    recorder.close()
    assert (recorder.written, recorder.lost) == (9, 0)
    log = read(folder)
    predictor = Predictor.load(bundle)
    again = predictor.predict(log)
    assert_frame_equal(log.select(again.columns), again, check_dtypes=False, abs_tol=1e-5)
    assert log["model_version"].unique().to_list() == [predictor.version]
    assert log["request_id"].to_list() == [f"r{i}" for i in range(9)]
    assert log["shadow"].any() is False
    assert log["answered_at"].dtype == pl.Datetime("us", "UTC")


def test_rows_of_one_request_have_ids_of_their_own(binary: Any, served: Served, folder: Path) -> None:
    recorder = Recorder(Recording(folder))
    recorder.take(exchanges(binary, served, 2, rows=3))
    recorder.close()
    assert read(folder)["request_id"].to_list() == ["r0:0", "r0:1", "r0:2", "r1:0", "r1:1", "r1:2"]


def test_the_log_is_read_beside_what_came_true(binary: Any, served: Served, folder: Path, tmp_path: Path) -> None:
    recorder = Recorder(Recording(folder))
    both = exchanges(binary, served, 12)
    recorder.take(both)
    recorder.close()
    outcomes = pl.DataFrame({"request_id": [f"r{i}" for i in range(12)], "bought": binary.frame["bought"].head(12)})
    outcomes.write_csv(tmp_path / "outcomes.csv")
    answers = read_answers(str(folder / "*.parquet"), tmp_path / "outcomes.csv", on="request_id", target="bought")
    assert answers.classes == ("no", "yes")
    version = answers.versions[served.version]
    assert version.served == len(version.ids) == 12
    assert version.probabilities is not None
    told = [exchange.records[0]["probabilities"]["yes"] for exchange in both]
    assert version.probabilities[:, 1].tolist() == pytest.approx(told, abs=1e-6)


def test_what_is_redacted_is_in_no_file(binary: Any, served: Served, folder: Path) -> None:
    recorder = Recorder(Recording(folder, redacted=("city", "age")))
    recorder.take(exchanges(binary, served, 3))
    recorder.close()
    assert not {"city", "age"} & set(read(folder).columns)
    assert {"visits", "member", "day"} <= set(read(folder).columns)
    assert b"city 0" not in next(folder.iterdir()).read_bytes()


def test_a_sample_holds_all_versions_answers_to_a_request_or_none(binary: Any, served: Served, folder: Path) -> None:
    recorder = Recorder(Recording(folder, sample=0.4))
    both = exchanges(binary, served, 200)
    recorder.take(both)
    recorder.take(both, shadow=True)
    recorder.close()
    log = read(folder)
    shares = {shadow: set(part["request_id"]) for (shadow,), part in log.partition_by("shadow", as_dict=True).items()}
    assert shares[False] == shares[True]
    assert 50 <= len(shares[False]) <= 110  # 80 on average, with a standard deviation of 7


def test_files_appear_when_there_are_enough_rows_or_time_has_passed(
    binary: Any, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_ROWS", 4)
    recorder = Recorder(Recording(folder))
    for exchange in exchanges(binary, served, 9):
        recorder.take([exchange])
    monkeypatch.setattr(module, "FILE_SECONDS", -1.0)
    recorder.look()
    recorder.close()
    assert sorted(pl.read_parquet(path).height for path in folder.iterdir()) == [1, 4, 4]


def test_a_disk_that_takes_nothing_does_not_stop_the_server(
    binary: Any, served: Served, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(Recording(folder))
    folder.rmdir()
    recorder.take(exchanges(binary, served, 3))
    with caplog.at_level(logging.ERROR):
        recorder.close()
    assert (recorder.written, recorder.lost) == (0, 3)
    assert "A file of the request log was not written" in caplog.text


def test_a_feature_with_a_name_of_the_log_gives_way(
    binary: Any, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OWN", (*module.OWN, "visits"))
    recorder = Recorder(Recording(folder))
    recorder.take(exchanges(binary, served, 2))
    recorder.close()
    assert "visits" not in read(folder).columns


def test_a_request_of_no_rows_is_in_no_file(binary: Any, served: Served, folder: Path) -> None:
    recorder = Recorder(Recording(folder))
    recorder.take(work([Question(Kind.PREDICT, b"[]", 0, b"none")], [served]).exchanges)
    recorder.close()
    assert (recorder.written, recorder.lost) == (0, 0)
    assert not list(folder.iterdir())
