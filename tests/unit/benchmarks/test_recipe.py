"""The table of what was tried: gains are those of the same seed, and above 0 where the variant is better."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture
def recipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module("recipe")


RESULTS = {
    "california": {"default": {"0": {"rmse": 0.43}, "1": {"rmse": 0.42}}, "3 blocks": {"1": {"rmse": 0.41}}},
    "churn": {
        "default": {"0": {"accuracy": 0.86, "log_loss": 0.32}},
        "3 blocks": {"0": {"accuracy": 0.87, "log_loss": 0.33}},
        "no dropout": {"0": {"accuracy": 0.85, "log_loss": 0.34}},
    },
}


def test_gains_are_seed_by_seed_and_positive_where_better(recipe: ModuleType) -> None:
    assert recipe.gains("3 blocks", "rmse", RESULTS["california"]) == pytest.approx([1.0])
    assert recipe.gains("3 blocks", "accuracy", RESULTS["churn"]) == pytest.approx([1.0])
    assert recipe.gains("3 blocks", "log_loss", RESULTS["churn"]) == pytest.approx([-1.0])
    assert recipe.gains("no dropout", "rmse", RESULTS["california"]) == []


def test_the_table_has_the_best_first_and_leaves_blank_what_was_not_measured(recipe: ModuleType) -> None:
    lines = recipe.as_markdown(RESULTS).splitlines()
    assert lines[0] == "| the default with | california rmse | churn accuracy | churn log_loss | mean gain in loss |"
    rows = [line for line in lines[2:] if line.startswith("|")]
    assert rows == [
        "| default | 0.4250 | 0.8600 | 0.3200 | +0.00 |",
        "| 3 blocks | 0.4100 (+1.00) | 0.8700 (+1.00) | 0.3300 (-1.00) | +0.00 |",
        "| no dropout |  | 0.8500 (-1.00) | 0.3400 (-2.00) | -2.00 |",
    ]
