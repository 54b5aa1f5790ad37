"""A small table with every sort of column, and what stands for its rows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature

Inputs = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def spec() -> InputSpec:
    """Numbers with many bins, one bin and none; two groups that interleave; two categories."""
    return InputSpec(
        numeric=(
            NumericFeature("many", "many", bins=(-2.0, -1.0, -0.5, 0.0, 0.5, 1.5)),
            NumericFeature("text.0", "text", group="text"),
            NumericFeature("one", "one", bins=(-1.0, 1.0)),
            NumericFeature("note.0", "note", group="note"),
            NumericFeature("text.1", "text", group="text"),
            NumericFeature("none", "none"),
        ),
        categorical=(CategoricalFeature("color", "color", 5), CategoricalFeature("shape", "shape", 7)),
        num_outputs=2,
    )


@pytest.fixture
def make_inputs(spec: InputSpec) -> Callable[[int], Inputs]:
    """Rows for `spec`: numbers, some of them missing, and ids of every sort."""

    def make(rows: int, seed: int = 0) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        numeric = torch.randn(rows, len(spec.numeric), generator=generator)
        missing = torch.rand(rows, len(spec.numeric), generator=generator) < 0.25
        ids = [torch.randint(feature.cardinality, (rows,), generator=generator) for feature in spec.categorical]
        return numeric.masked_fill(missing, 0), missing, torch.stack(ids, dim=1).int()

    return make
