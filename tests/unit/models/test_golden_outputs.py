"""Outputs in float64, as they were when they were last looked at.

The reference test says that the model is right; this one says that it is still the same, so that a bundle made by
one version predicts the same with the next. Weights come from a formula and not from a generator: golden outputs do
not move when torch draws other random numbers.

Regenerate after a change that is meant to change them (from the root of the repository):

    python tests/unit/models/test_golden_outputs.py
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlpipe.models import TransformerConfig, build_model
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature

GOLDEN = Path(__file__).parents[2] / "golden" / "model_outputs.json"

SPEC = InputSpec(
    numeric=(
        NumericFeature("a", "a", bins=(-1.0, -0.25, 0.0, 0.75, 2.0)),
        NumericFeature("b", "b"),
        NumericFeature("t.0", "t", group="t"),
        NumericFeature("t.1", "t", group="t"),
    ),
    categorical=(CategoricalFeature("c", "c", 5), CategoricalFeature("d", "d", 4)),
    num_outputs=2,
)

# Every choice is spelled out: a new default is no new output.
SMALL: dict[str, Any] = {
    "trunk": "transformer",
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "gate": "swiglu",
    "mlp_ratio": 1.0,
    "numeric_embedding": "ple",
    "num_frequencies": 4,
    "frequency_scale": 0.01,
    "rope": "index",
    "rope_base": 10_000.0,
    "readout_tokens": 3,
    "readout": "all",
    "head": "linear",
    "members": 2,
    "member_width": 8,
    "additive": False,
    "ensemble": 1,
    "dropout": 0.0,
    "qk_norm": False,
    "first_norm": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "ple, rope, linear heads": {},
    "no position, last readout": {"rope": "none", "readout": "last", "gate": "reglu"},
    "periodic, members": {"numeric_embedding": "periodic", "head": "members", "gate": "geglu"},
    "with what columns add by themselves": {"additive": True, "readout": "last"},
    "plr, normed queries": {"numeric_embedding": "plr", "qk_norm": True, "num_layers": 3},
    "pbld, first norm": {"numeric_embedding": "pbld", "first_norm": True, "rope_base": 100.0},
    "linear": {"numeric_embedding": "linear", "num_layers": 1},
    "mlp": {"trunk": "mlp"},
    "ensemble": {"ensemble": 2, "num_layers": 1},
}


def rows() -> tuple[Tensor, Tensor, Tensor]:
    numeric = torch.tensor([[0.5, -1.0, 0.0, 2.0], [0.0, 1.5, 1.0, 0.0], [-3.0, 0.0, -1.0, 1.0]], dtype=torch.float64)
    missing = torch.tensor([[False] * 4, [True, False, False, True], [False] * 4])
    return numeric, missing, torch.tensor([[3, 1], [4, 3], [1, 2]], dtype=torch.int32)


def outputs(changes: dict[str, Any]) -> list[Any]:
    """Logits (B, K, O) of a model whose i-th weight is 0.4 cos(i)."""
    model = build_model(TransformerConfig.from_dict({**SMALL, **changes}), SPEC).double().eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            steps = torch.arange(parameter.numel(), dtype=torch.float64) + len(name)
            parameter.copy_((0.4 * torch.cos(steps)).view(parameter.shape))
        logits: list[Any] = model(*rows()).tolist()
    return logits


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_are_as_they_were(name: str) -> None:
    golden = torch.tensor(json.loads(GOLDEN.read_text())[name], dtype=torch.float64)
    # Rotary tables are float32; mathematical libraries differ in the last digit.
    torch.testing.assert_close(torch.tensor(outputs(CONFIGS[name]), dtype=torch.float64), golden, atol=1e-6, rtol=1e-6)


def test_every_config_has_its_outputs() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(CONFIGS)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: outputs(changes) for name, changes in CONFIGS.items()}, indent=1) + "\n")
