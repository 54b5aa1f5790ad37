import json

import pytest

from mlpipe.errors import ConfigError
from mlpipe.models import TransformerConfig


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"gate": "swigul"}, "model.gate is 'swigul', which is none of its options. Did you mean 'swiglu'?"),
        (
            {"trunk": "mamba"},
            "model.trunk is 'mamba', which is none of its options. There are: auto, mlp, transformer.",
        ),
        ({"readout": None}, "model.readout is None, which is none of its options. There are: all, last."),
        (
            {"width": 60, "num_heads": 8},
            "model.width is 60, which model.num_heads = 8 does not divide; 64 would do.",
        ),
        (
            {"width": 3, "num_heads": 8},
            "model.width is 3, which model.num_heads = 8 does not divide; 8 would do.",
        ),
        (
            {"width": 12, "num_heads": 4, "rope": "index"},
            (
                "model.rope turns pairs of numbers, but model.width / model.num_heads = 3 is odd; "
                "choose an even ratio or rope: none."
            ),
        ),
        ({"num_layers": 0}, "model.num_layers is 0; it has to be a whole number of at least 1."),
        ({"width": 64.0}, "model.width is 64.0; it has to be a whole number of at least 1."),
        ({"members": True}, "model.members is True; it has to be a whole number of at least 1."),
        ({"mlp_ratio": -1.0}, "model.mlp_ratio is -1.0; it has to be a number above 0."),
        ({"mlp_ratio": "4/3"}, "model.mlp_ratio is '4/3'; it has to be a number above 0."),
        ({"frequency_scale": float("nan")}, "model.frequency_scale is nan; it has to be a number above 0."),
        ({"rope_base": 1.0}, "model.rope_base is 1.0; it has to be a number above 1."),
        ({"dropout": 1.0}, "model.dropout is 1.0; it has to be at least 0 and less than 1."),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TransformerConfig(**values)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^model.witdh is not a key .* Did you mean 'width'\?$"):
        TransformerConfig.from_dict({"witdh": 64})


def test_an_odd_head_is_fine_without_rope() -> None:
    assert TransformerConfig(width=12, num_heads=4, rope="none").head_width == 3


def test_json_round_trip() -> None:
    config = TransformerConfig(width=48, gate="reglu", rope="none", dropout=0.25)
    assert TransformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("width", "ratio", "hidden"), [(64, 4 / 3, 80), (96, 4 / 3, 128), (8, 0.1, 16), (64, 4.0, 256)]
)
def test_hidden_width_is_a_multiple_of_16(width: int, ratio: float, hidden: int) -> None:
    assert TransformerConfig(width=width, mlp_ratio=ratio).hidden_width == hidden


def test_the_members_head_reads_one_token() -> None:
    linear = TransformerConfig(readout_tokens=5, members=9)
    assert (linear.num_readouts, linear.num_members) == (5, 5)
    members = TransformerConfig(readout_tokens=5, members=9, head="members")
    assert (members.num_readouts, members.num_members) == (1, 9)
