"""A misspelt environment variable is told, not ignored."""

from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.training.parser import known_keys
from mlpipe.training.variables import NOT_KEYS, refuse_unknown_variables, variable_of


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MLPIPE_MODEL__WIDHT", "Did you mean 'MLPIPE_MODEL__WIDTH'?"),
        ("MLPIPE_MODEL_WIDTH", "Did you mean 'MLPIPE_MODEL__WIDTH'?"),
        ("MLPIPE_FIT__MODEL__WIDTH", "Did you mean 'MLPIPE_MODEL__WIDTH'?"),
        ("MLPIPE_model__width", "Did you mean 'MLPIPE_MODEL__WIDTH'?"),
        ("MLPIPE_DATA__COLUMNS__SURNAME", "Did you mean 'MLPIPE_DATA__COLUMNS'?"),
        ("MLPIPE_WORKERS", "`MLPIPE_` in front of a key's name sets that key, as MLPIPE_MODEL__WIDTH does; unset it."),
    ],
)
def test_a_variable_that_sets_nothing_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unknown_variables({"HOME": "/", name: "8"}, known_keys())
    assert str(caught.value) == f"The environment variable {name!r} sets no key. {hint}"


def test_every_key_has_a_variable() -> None:
    refuse_unknown_variables({variable_of(key): "1" for key in known_keys()}, known_keys())


@pytest.mark.parametrize(
    "name",
    [
        *sorted(NOT_KEYS),
        "MLPIPELINE_MODEL",
        "MLFLOW_TRACKING_URI",
        "MLPIPE_SERVICE_HOST",
        "MLPIPE_SERVICE_PORT_HTTP",
        "MLPIPE_PORT",
        "MLPIPE_PORT_8000_TCP",
        "MLPIPE_UI_PORT_5000_TCP_ADDR",
    ],
)
def test_what_is_not_meant_for_the_config_is_left_alone(name: str) -> None:
    refuse_unknown_variables({name: "1"}, known_keys())
