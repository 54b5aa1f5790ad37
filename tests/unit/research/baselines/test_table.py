from __future__ import annotations

from mlpipe.research.baselines import BaselineResult, render_table
from mlpipe.research.baselines.table import ranked, short_metrics, table_cells
from mlpipe.schema import TaskKind


def test_a_table_of_models_with_different_metrics() -> None:
    results = [
        BaselineResult("most_frequent", {"test": {"rmse": 405_000.81, "r2": 0.0}}, 0.01, 1e6),
        BaselineResult("a", {"test": {"rmse": 0.00001234}}, 12.3, 999.6),
        BaselineResult("untested", {}, 0.0),
    ]
    assert render_table(results).splitlines() == [
        "| model         |      rmse |     r2 | train s |    rows/s |",
        "|:--------------|----------:|-------:|--------:|----------:|",
        "| most_frequent |  405000.8 | 0.0000 |     0.0 | 1,000,000 |",
        "| a             | 1.234e-05 |        |    12.3 |     1,000 |",
        "| untested      |           |        |     0.0 |           |",
    ]
    assert table_cells(results, metrics=["r2"])[0] == ["model", "r2", "train s", "rows/s"]


def test_the_best_stands_first_whichever_way_is_up() -> None:
    results = [
        BaselineResult(name, {"test": {"auroc": auroc, "log_loss": loss}})
        for name, auroc, loss in (("a", 0.8, 0.5), ("b", 0.9, 0.4), ("c", 0.7, 0.3))
    ]
    results.append(BaselineResult("undefined", {"test": {}}))
    assert [result.name for result in ranked(results, "test", "auroc")] == ["b", "a", "c", "undefined"]
    assert [result.name for result in ranked(results, "test", "log_loss")] == ["c", "b", "a", "undefined"]


def test_the_watched_metric_leads_the_short_list() -> None:
    assert short_metrics(TaskKind.BINARY, "brier") == ["brier", "accuracy", "auroc", "log_loss"]
    assert short_metrics(TaskKind.REGRESSION, "mae") == ["mae", "rmse", "r2"]
