from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.features.config import FeaturesConfig
from mlpipe.research.baselines import BASELINES, INCLUDED
from mlpipe.research.baselines.registry import Baseline, absent, check_names, features_for


def test_what_needs_no_extra_stands_first() -> None:
    assert INCLUDED == ("most_frequent", "linear", "hist_gradient_boosting")
    assert tuple(BASELINES)[: len(INCLUDED)] == INCLUDED
    assert absent(INCLUDED) == []


def test_an_unknown_baseline_has_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"There is no baseline 'ligtgbm'\. Did you mean 'lightgbm'\?"):
        check_names(["linear", "ligtgbm"])


def test_a_library_that_is_not_installed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASELINES, "dreams", Baseline(BASELINES["linear"].fit, "a_library_of_dreams"))
    assert absent(["linear", "dreams"]) == ["dreams"]


def test_a_form_changes_the_numbers_and_nothing_else() -> None:
    given = FeaturesConfig(datetime_parts=["weekday"], target_transform="log", high_cardinality="hash")
    plain, few, quantile = (features_for(form, given) for form in ("plain", "few_categories", "quantile"))
    assert (plain.numeric, few.numeric, quantile.numeric) == ("none", "none", "quantile")
    assert (plain.high_cardinality, few.high_cardinality) == ("hash", "target")
    assert {features.target_transform for features in (plain, few, quantile)} == {"log"}
    assert plain.datetime_parts == ["weekday"]
