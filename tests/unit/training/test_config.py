from __future__ import annotations

import math

import pytest

from mlpipe.errors import ConfigError
from mlpipe.training.config import TrainingConfig


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("name", ["lr", "muon_lr", "weight_decay"])
def test_what_no_optimiser_can_use_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^`training\.{name}` is {value}; it has to be a number"):
        TrainingConfig(**{name: value})  # type: ignore[arg-type]  # as a config file may say it


def test_what_turns_something_off_is_taken() -> None:
    assert TrainingConfig(weight_decay=0.0, patience=0).weight_decay == 0
