from __future__ import annotations

import json
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mlpipe.errors import ConfigError, DataError
from mlpipe.features.calibration import Calibration, Interval, is_yes
from mlpipe.schema import InputSpec, NumericFeature

levels = st.floats(0.01, 0.99)
around_a_value = st.builds(Interval, levels, st.floats(0, 1e3))
around_quantiles = st.builds(Interval, levels, st.floats(-9, 9), st.just(True))


@given(
    st.floats(0.1, 10),
    levels,
    st.none()
    | st.builds(Interval, levels, st.floats(0, 1e3))
    | st.builds(Interval, levels, st.floats(-9, 9), st.just(True)),
)
def test_it_reads_back_from_json(temperature: float, threshold: float, interval: Interval | None) -> None:
    calibration = Calibration(temperature, threshold, interval)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it has to be a positive number"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"threshold": 0}, "threshold is 0; it has to be above 0 and below 1"),
        ({"threshold": True}, "threshold is True"),
        ({"interval": {"level": 1.0}}, "level is 1.0; it has to be above 0 and below 1"),
        ({"interval": {"level": 0.9, "margin": -1.0}}, "margin is -1.0, which is no width"),
        ({"interval": {"level": 0.9, "margin": math.inf, "quantiles": True}}, "margin is inf"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Calibration.from_dict(values)


@pytest.mark.parametrize("values", [{"temprature": 1.0}, {"interval": {"level": 0.9, "width": 1.0}}])
def test_unknown_keys_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="unknown key"):
        Calibration.from_dict(values)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted), min_size=1), st.floats(-1e6, 1e6))
def test_a_value_never_lies_outside_of_its_interval(quantiles: list[list[float]], margin: float) -> None:
    made = Interval(0.9, margin, quantiles=True).around(np.array(quantiles))
    assert (made[:, 1] <= made[:, 0]).all()
    assert (made[:, 0] <= made[:, 2]).all()


def test_quantiles_are_three_outputs() -> None:
    spec = InputSpec((NumericFeature("a", "a"),), (), num_outputs=1)
    assert Calibration().network_spec(spec) == spec
    assert Calibration(interval=Interval(0.9)).network_spec(spec) == spec
    assert Calibration(interval=Interval(0.9, quantiles=True)).network_spec(spec).num_outputs == 3


def test_a_threshold_between_two_float32_neighbours_tells_them_apart() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    assert is_yes(np.array([low, high]), (float(low) + float(high)) / 2).tolist() == [False, True]
