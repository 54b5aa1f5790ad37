from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.features.config import FeaturesConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"numeric": "quantle"}, "`features.numeric` is 'quantle'. Did you mean 'quantile'?"),
        ({"bins": "three"}, "`features.bins` is 'three'. Did you mean 'tree'?"),
        ({"high_cardinality": "hsh"}, "`features.high_cardinality` is 'hsh'. Did you mean 'hash'?"),
        ({"target_transform": "logarithm"}, "`features.target_transform` is 'logarithm'."),
        ({"datetime_parts": ["hours"]}, "`features.datetime_parts`: 'hours'. Did you mean 'hour'?"),
        ({"num_bins": 1}, "`features.num_bins` is 1; it has to be at least 2."),
        ({"quantile_noise": -1.0}, "`features.quantile_noise` is -1.0; it has to be at least 0."),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FeaturesConfig(**values)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
