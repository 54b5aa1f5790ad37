from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.format import read_bundle
from mlpipe.errors import BundleError
from mlpipe.features.calibration import Calibration
from mlpipe.schema import Column, Kind, Role, TaskKind
from mlpipe.serving.differences import Facts, difference, facts, incompatibility

Fit = Callable[..., Any]


@pytest.fixture
def base(bundles: list[Path]) -> Facts:
    return facts(bundles[0])


def with_columns(base: Facts, *columns: Column, without: str = "") -> Facts:
    kept = tuple(c for c in base.schema.columns if c.name != without and c.name not in {new.name for new in columns})
    return replace(base, schema=replace(base.schema, columns=(*kept, *columns)))


def test_a_bundle_does_not_differ_from_itself(base: Facts) -> None:
    found = difference(base, base)
    parts = [found.task, found.added, found.removed, found.changed, found.model, found.preprocessing]
    assert not any(parts)
    assert found.fitted == []
    assert found.metrics == {"test": {"log_loss": (0.5, 0.5)}}
    assert found.about["bytes"][0] == sum(path.stat().st_size for path in base.folder.iterdir())
    assert found.about["weights_bytes"][0] == (base.folder / "weights.safetensors").stat().st_size
    assert incompatibility(base, base) is None


def test_metrics_options_and_fitted_values_are_told_apart(fitted: Fit, bundles: list[Path], tmp_path: Path) -> None:
    other = fitted(TaskKind.BINARY, 1).write(
        tmp_path / "b", calibration=Calibration(1.5, threshold=0.3), metrics={"test": {"auroc": 0.9}}
    )
    found = difference(facts(bundles[0]), facts(other))
    assert found.metrics == {"test": {"log_loss": (0.5, None), "auroc": (None, 0.9)}}
    assert found.preprocessing == {"calibration.threshold": (0.5, 0.3)}
    assert "age" in found.fitted
    assert found.model == {}
    assert json.loads(json.dumps(found.to_dict()))["about"]["members"] == [1, 1]


def test_an_ensemble_is_compared_by_its_first_member(fitted: Fit, bundles: list[Path], tmp_path: Path) -> None:
    members = [read_bundle(path) for path in bundles[:2]]
    out = write_ensemble(tmp_path / "e", members, statistics=members[-1].statistics, metrics={}, model_card="# E\n")
    found = difference(facts(bundles[0]), facts(out))
    assert found.about["members"] == (1, 2)
    assert found.about["weights_bytes"][1] == 2 * found.about["weights_bytes"][0]
    assert found.model == found.preprocessing == {}
    assert incompatibility(facts(bundles[0]), facts(out)) is None


def test_another_task_is_named(base: Facts, fitted: Fit, tmp_path: Path) -> None:
    other = facts(fitted(TaskKind.REGRESSION).write(tmp_path / "r"))
    assert incompatibility(base, other) == "predicts 'price' (regression) and not 'bought' (binary)"
    found = difference(base, other)
    assert found.task["kind"] == ("binary", "regression")
    assert found.changed["price"] == ("categorical, ignored", "categorical, target")


def test_other_classes_are_named(base: Facts) -> None:
    task = replace(base.schema.task, classes=("no", "maybe"))
    other = replace(base, schema=replace(base.schema, task=task))
    assert incompatibility(base, other) == "has the classes 'no', 'maybe' and not 'no', 'yes'"


def test_other_columns_are_named(base: Facts) -> None:
    more = with_columns(base, Column("wind", Kind.NUMERIC))
    assert incompatibility(base, more) == "needs the column 'wind' (numeric)"
    assert difference(base, more).added == {"wind": "numeric"}
    less = with_columns(base, without="age")
    assert incompatibility(base, less) == "does not know the column 'age' (numeric)"
    assert difference(base, less).removed == {"age": "numeric"}
    changed = with_columns(base, Column("age", Kind.CATEGORICAL))
    assert incompatibility(base, changed) == "takes the column 'age' as categorical and not as numeric"
    assert difference(base, changed).changed == {"age": ("numeric, feature", "categorical, feature")}
    ignored = with_columns(base, Column("city", Kind.CATEGORICAL, Role.IGNORED))
    assert incompatibility(base, ignored) == "does not know the column 'city' (categorical)"


def test_a_damaged_bundle_is_refused(bundles: list[Path], tmp_path: Path) -> None:
    for path in bundles[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocess.json").write_text("{}")
    with pytest.raises(BundleError, match=r"preprocess\.json has 2 bytes"):
        facts(tmp_path)
