from pathlib import Path

import pytest

from mlpipe.training.csvlog import MetricsCSV, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.csv"


def steps(path: Path) -> list[int]:
    return [int(row["step"]) for row in read_metrics(path)]


def test_a_line_is_on_the_disk_at_once(path: Path) -> None:
    logger = MetricsCSV(path)
    logger.log_metrics({"train/loss": 0.1, "epoch": 0}, step=3)
    assert path.read_text() == "epoch,step,train/loss\n0,3,0.1\n"
    assert logger.save_dir == str(path.parent)


def test_new_columns_come_on_the_right(path: Path) -> None:
    logger = MetricsCSV(path)
    logger.log_metrics({"b": 1.5, "epoch": 0}, step=1)
    logger.log_metrics({"a": 2.5, "epoch": 0}, step=1)
    logger.log_metrics({"b": 3.5, "epoch": 1}, step=2)
    assert path.read_text() == "epoch,step,b,a\n0,1,1.5,\n0,1,,2.5\n1,2,3.5,\n"


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(path: Path) -> None:
    first = MetricsCSV(path)
    for step in (10, 20, 30):
        first.log_metrics({"loss": 1.0}, step=step)
    second = MetricsCSV(path, resume=True)
    assert steps(path) == [10, 20, 30]
    second.log_metrics({"loss": 2.0, "new": 1.0}, step=20)
    second.log_metrics({"loss": 2.0}, step=20)
    assert steps(path) == [10, 20, 20]
    assert [row["loss"] for row in read_metrics(path)] == ["1", "2", "2"]


def test_what_was_logged_at_the_same_step_before_the_checkpoint_stays(path: Path) -> None:
    first = MetricsCSV(path)
    for step in (9, 19):
        first.log_metrics({"val/rmse": 1.0}, step=step)
        if step == 9:
            first.log_metrics({"train/loss": 1.0}, step=step)
    MetricsCSV(path, resume=True).log_metrics({"train/loss": 2.0}, step=19)
    assert [(row["step"], row["val/rmse"], row["train/loss"]) for row in read_metrics(path)] == [
        ("9", "1", ""),
        ("9", "", "1"),
        ("19", "1", ""),
        ("19", "", "2"),
    ]
    MetricsCSV(path, resume=True).log_metrics({"val/rmse": 3.0}, step=19)
    assert [row["val/rmse"] for row in read_metrics(path)] == ["1", "", "3"]


def test_a_fresh_run_starts_afresh(path: Path) -> None:
    MetricsCSV(path).log_metrics({"loss": 1.0}, step=1)
    MetricsCSV(path).log_metrics({"other": 1.0}, step=1)
    assert path.read_text() == "epoch,step,other\n,1,1\n"


def test_resuming_without_a_file_is_a_start(path: Path) -> None:
    MetricsCSV(path, resume=True).log_metrics({"loss": 1.0}, step=1)
    assert steps(path) == [1]


def test_a_line_cut_off_by_a_crash_is_dropped(path: Path) -> None:
    MetricsCSV(path).log_metrics({"loss": 1.0}, step=1)
    with path.open("a") as file:
        file.write(",2,0.0")
    assert steps(path) == [1]
    MetricsCSV(path, resume=True).log_metrics({"loss": 3.0}, step=2)
    assert steps(path) == [1, 2]


def test_values_have_the_digits_of_float32(path: Path) -> None:
    logger = MetricsCSV(path)
    logger.log_metrics({"a": 0.10000000149011612, "b": 1e-12, "c": float("nan"), "d": float("inf")}, step=None)
    assert path.read_text().splitlines()[1] == ",0,0.100000001,1e-12,nan,inf"
