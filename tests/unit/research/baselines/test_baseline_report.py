from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlpipe.errors import ConfigError
from mlpipe.research.baselines import BaselineResult
from mlpipe.research.baselines.report import Report, check_folder
from mlpipe.schema import TaskKind


@pytest.fixture
def report() -> Report:
    results = [
        BaselineResult(
            name,
            {"validation": {"rmse": validation, "mae": 1.0}, "test": {"rmse": test, "mae": 1.0}},
            train_seconds=2.0,
            rows_per_second=speed,
            outputs={"test": np.zeros((5, 1))},
        )
        for name, validation, test, speed in (("linear", 2.0, 4.0, 100.0), ("lightgbm", 3.0, 1.0, None))
    ]
    return Report(TaskKind.REGRESSION, "rmse", {"train": 1_234, "validation": 7, "test": 5}, seed=1, results=results)


def test_a_page_has_a_ranking_for_each_part(report: Report) -> None:
    page = report.markdown()
    assert "Trained on 1,234 rows; the best rmse stands first." in page
    assert page.index("## test: 5 rows") < page.index("## validation: 7 rows")
    test, validation = page.split("## validation")
    assert test.index("| lightgbm") < test.index("| linear")
    assert validation.index("| linear") < validation.index("| lightgbm")


def test_without_a_test_the_validation_decides(report: Report) -> None:
    report.rows = {"train": 10, "validation": 7, "test": 0}
    assert report.part == "validation"
    assert [row[0] for row in report.cells()[1]] == ["linear", "lightgbm"]
    assert "## test" not in report.markdown()


def test_a_record_is_json_without_outputs(report: Report, tmp_path: Path) -> None:
    assert [path.name for path in report.write(tmp_path / "new")] == ["baselines.md", "baselines.json"]
    record = json.loads((tmp_path / "new" / "baselines.json").read_text(encoding="utf-8"))
    assert (record["task"], record["metric"], record["seed"]) == ("regression", "rmse", 1)
    assert record["models"][0] == {
        "name": "linear",
        "validation": {"rmse": 2.0, "mae": 1.0},
        "test": {"rmse": 4.0, "mae": 1.0},
        "train_seconds": 2.0,
        "rows_per_second": 100.0,
        "rounds": None,
    }


def test_every_number_has_a_name_of_its_own(report: Report) -> None:
    metrics = report.metrics()
    assert metrics["baselines/linear/test/rmse"] == 4.0
    assert metrics["baselines/linear/rows_per_second"] == 100.0
    assert "baselines/lightgbm/rows_per_second" not in metrics
    assert len(metrics) == 11


def test_nothing_is_overwritten_unasked(report: Report, tmp_path: Path) -> None:
    check_folder(tmp_path, overwrite=False)
    report.write(tmp_path)
    with pytest.raises(ConfigError, match=r"baselines\.md exists; .* `--force`"):
        check_folder(tmp_path, overwrite=False)
    check_folder(tmp_path, overwrite=True)
    for folder in (tmp_path / "baselines.md", tmp_path / "baselines.md" / "below" / "that"):
        with pytest.raises(ConfigError, match=r"baselines\.md is a file; `--out` names a folder\.$"):
            check_folder(folder, overwrite=True)
