"""The figures of the report, against what is obvious or computed another way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from accuracy import current_recipe
from accuracy_report import as_markdown, normalised, ranks, seconds_to, verdict
from hypothesis import given
from hypothesis import strategies as st
from records import Key, Record, Store
from scipy.stats import rankdata
from tables import TABLES, PublicTable
from unseen_tables import UNSEEN

SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8]), min_size=1, max_size=6)


def add(
    store: Store,
    table: str,
    contestant: str,
    score: float,
    *,
    preset: str = "",
    seed: int = 0,
    recipe: str = "a",
    curve: Sequence[tuple[float, float]] = (),
    measured: str = "2026-01-01T00:00:00+00:00",
    wrong: int = 0,
) -> None:
    metric = "rmse" if table == "diamond" else "accuracy"
    losses = np.arange(400) < wrong
    record = Record(
        Key(table, contestant, preset, seed),
        recipe,
        {metric: score},
        {metric: score},
        10.0 + seed,
        tuple(curve),
        machine={"cpu": "a processor", "threads": 1, "load": 2.0, "shared": contestant == "mlpipe"},
        measured=measured,
    )
    store.add(record, losses if metric == "accuracy" else losses.astype(np.float16))


def today(key: Key) -> str:
    """The recipe of the day, as `add` has it."""
    return "a"


def table_of(report: str, head: str) -> dict[str, list[str]]:
    """The cells of one of the report's tables, by its first column."""
    (block,) = [part for part in report.split("\n\n") if part.startswith(f"| {head}")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
    return {row[0]: row[1:] for index, row in enumerate(rows) if index != 1}


@given(SCORES, st.sampled_from(["accuracy", "rmse"]))
def test_ranks_are_those_of_scipy(scores: list[float], metric: str) -> None:
    named = {str(index): score for index, score in enumerate(scores)}
    sign = -1 if metric == "accuracy" else 1
    assert list(ranks(named, metric).values()) == rankdata([sign * score for score in scores]).tolist()


@given(SCORES, st.sampled_from(["accuracy", "rmse"]))
def test_the_best_is_one_and_half_of_them_are_zero(scores: list[float], metric: str) -> None:
    named = {str(index): score for index, score in enumerate(scores)}
    shares = normalised(named, metric)
    best = max(scores) if metric == "accuracy" else min(scores)
    assert all((share == 1.0) == (named[name] == best) for name, share in shares.items())
    if len(set(scores)) == len(scores) > 1:
        assert sum(share == 0 for share in shares.values()) >= len(scores) // 2


def test_a_paired_bootstrap_sees_what_is_the_same_on_all_rows() -> None:
    random = np.random.default_rng(1)
    noise = random.random(500)
    assert verdict(noise, noise + 0.01) == "win"
    assert verdict(noise + 0.01, noise) == "loss"
    assert verdict(noise, noise) == verdict(noise, noise[::-1].copy()) == "tie"


def test_a_curve_reaches_a_goal_when_it_first_does() -> None:
    curve = [(1.0, 0.80), (2.0, 0.85), (3.0, 0.84)]
    assert [seconds_to(curve, goal, "accuracy") for goal in (0.7, 0.85, 0.9)] == [1.0, 2.0, math.inf]
    assert seconds_to([], 0.1, "rmse") == math.inf


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    assert as_markdown(Store(tmp_path), today, TABLES) == "Nothing has been measured.\n"


def test_means_winners_and_what_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, score in enumerate((0.90, 0.92)):
        add(store, "churn", "mlpipe", score, preset="default", seed=seed, wrong=40)
    add(store, "churn", "lightgbm", 0.85, wrong=60)
    add(store, "diamond", "lightgbm", 0.0845)
    report = as_markdown(store, today, TABLES)
    scores = table_of(report, "table | metric")
    assert scores["churn"][:3] == ["accuracy", "**0.9100** ± 0.0141", "0.8500"]
    assert scores["diamond"][:3] == ["rmse", "—", "**0.0845**"]
    summary = table_of(report, "model")
    assert summary["mlpipe"] == ["1", "1.00", "1.00", "—", "10.5"]
    assert summary["lightgbm"] == ["2", "2.00", "0.00", "1, 0, 0", "10.0"]  # ranked where ours is
    assert "mean and standard deviation over 2 seeds" in report
    assert "Other work ran beside 2 of the 4 trainings" in report
    assert "Not measured: adult, california, letter," in report


def test_who_lacks_a_table_of_ours_is_ranked_where_it_was_measured(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for table in ("churn", "telco"):
        add(store, table, "mlpipe", 0.9, preset="default", wrong=40)
        add(store, table, "lightgbm", 0.8, wrong=80)
    add(store, "churn", "tabm", 0.95, wrong=20)
    add(store, "adult", "realmlp", 0.95, wrong=20)
    summary = table_of(as_markdown(store, today, TABLES), "model")
    assert summary["mlpipe"][1] == "1.00"
    assert summary["tabm"][:4] == ["1", "1.00, ours 2.00", "—", "0, 0, 1"]
    assert summary["realmlp"][:4] == ["1", "—", "—", "—"]  # on no table of ours


def test_presets_of_ours_are_ranked_one_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for preset, score in (("default", 0.90), ("best", 0.92), ("fast", 0.85)):
        add(store, "churn", "mlpipe", score, preset=preset, wrong=40)
    add(store, "churn", "catboost", 0.88, wrong=48)
    summary = table_of(as_markdown(store, today, TABLES), "model")
    found = {name: cells[1] for name, cells in summary.items() if name != "model"}
    assert found == {"mlpipe": "1.00", "mlpipe best": "1.00", "mlpipe fast": "2.00", "catboost": "2.00"}


def test_seconds_to_the_score_of_lightgbm(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for table, goal in (("churn", 0.85), ("telco", 0.99)):
        add(store, table, "lightgbm", goal)
        for seed in range(3):
            add(store, table, "mlpipe", 0.9, preset="default", seed=seed, curve=[(3.0 + seed, 0.8), (6.0 + seed, 0.9)])
    times = table_of(as_markdown(store, today, TABLES), "table | seconds of")
    assert times["churn"] == ["11", "7", "10.0"]
    assert times["telco"] == ["11", "—", "10.0"]


def test_seeds_of_an_earlier_recipe_are_not_mixed_in_and_marked_where_they_stand_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add(store, "churn", "mlpipe", 0.7, preset="default", seed=1, recipe="old")
    add(store, "churn", "mlpipe", 0.9, preset="default", measured="2026-02-01T00:00:00+00:00")
    add(store, "telco", "mlpipe", 0.8, preset="default", recipe="old", measured="2026-03-01T00:00:00+00:00")
    report = as_markdown(store, today, TABLES)
    scores = table_of(report, "table | metric")
    assert scores["churn"][1] == "**0.9000**"
    assert scores["telco"][1] == "**0.8000** †"
    assert "† By an earlier recipe" in report


@pytest.mark.parametrize(("page", "records", "tables"), [("accuracy", ".", TABLES), ("unseen", "unseen", UNSEEN)])
def test_the_page_is_that_of_the_records(page: str, records: str, tables: Mapping[str, PublicTable]) -> None:
    results = Path(__file__).parents[3] / "benchmarks" / "results"
    report = as_markdown(Store(results / records), current_recipe, tables)
    assert (results / f"{page}.md").read_text(encoding="utf-8") == report
