"""Small bundles of every kind of task; untrained, which is all the same to a bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from mlpipe.bundle.format import write_bundle
from mlpipe.bundle.onnx_export import to_int8, to_onnx
from mlpipe.bundle.predictor import ModelPredictor
from mlpipe.features.calibration import Calibration
from mlpipe.features.describe import describe_answers
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.models.config import TransformerConfig
from mlpipe.models.transformer import Transformer
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

CONFIG = TransformerConfig(width=16, num_layers=1, num_heads=2, readout_tokens=3)
TASKS = {
    TaskKind.BINARY: Task(TaskKind.BINARY, ("bought",), ("no", "yes")),
    TaskKind.MULTICLASS: Task(TaskKind.MULTICLASS, ("grade",), (1, 2, 3)),
    TaskKind.MULTILABEL: Task(TaskKind.MULTILABEL, ("red", "blue"), ("red", "blue")),
    TaskKind.REGRESSION: Task(TaskKind.REGRESSION, ("price",)),
}


@dataclass(frozen=True)
class Fitted:
    """What `write_bundle` needs, and the table it came from."""

    frame: pl.DataFrame
    schema: Schema
    preprocessor: Preprocessor
    model: Transformer
    statistics: Statistics

    def write(self, out: Path, **changes: Any) -> Path:
        arguments: dict[str, Any] = {
            "schema": self.schema,
            "preprocessor": self.preprocessor,
            "model": self.model,
            "config": CONFIG,
            "calibration": Calibration(1.5),
            "statistics": self.statistics,
            "metrics": {"test": {"log_loss": 0.5}},
            "model_card": "# A card\n",
            "sample_row": self.frame.row(0, named=True),
        }
        return write_bundle(out, **{**arguments, **changes})


def table(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    number = random.normal(size=rows)
    return pl.DataFrame(
        {
            "order id": [f"o{i:05d}" for i in range(rows)],
            "age": [None if i % 17 == 0 else float(x) for i, x in enumerate(number * 9 + 40)],
            "visits": random.integers(0, 50, rows),
            "city": [None if i % 23 == 0 else f"city {k}" for i, k in enumerate(random.integers(0, 6, rows))],
            "member": random.random(rows) < 0.5,
            "day": pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 1) + pl.duration(days=rows - 1), eager=True),
            "bought": np.where(number > 0, "yes", "no"),
            "grade": random.integers(1, 4, rows),
            "red": random.random(rows) < 0.5,
            "blue": random.random(rows) < 0.5,
            "price": number * 100 + 5,
        }
    )


def fit(kind: TaskKind, seed: int = 0) -> Fitted:
    frame = table(seed=seed)
    task = TASKS[kind]
    kinds = {
        "age": Kind.NUMERIC,
        "visits": Kind.NUMERIC,
        "city": Kind.CATEGORICAL,
        "member": Kind.BOOLEAN,
        "day": Kind.DATE,
    }
    roles = {
        "order id": Role.IDENTIFIER,
        **dict.fromkeys(kinds, Role.FEATURE),
        **dict.fromkeys(task.target, Role.TARGET),
    }
    columns = tuple(
        Column(name, kinds.get(name, Kind.CATEGORICAL), roles.get(name, Role.IGNORED), dtype=str(dtype))
        for name, dtype in frame.schema.items()
    )
    schema = Schema(columns, task)
    preprocessor = Preprocessor(schema).fit(frame)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(CONFIG, preprocessor.input_spec_).eval()
        with torch.no_grad():  # at the start the last maps are small or zero, and all rows would be answered alike
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
    statistics = preprocessor.statistics_
    predictor = ModelPredictor(schema=schema, preprocessor=preprocessor, model=model, statistics=statistics)
    answers = describe_answers(predictor.values(frame), task)
    return Fitted(frame, schema, preprocessor, model, statistics.with_predictions(answers))


@pytest.fixture(scope="session")
def fitted() -> Callable[..., Fitted]:
    """A fitted model for each kind of task, made once; another seed gives other rows, and so another model."""
    return functools.cache(fit)


@pytest.fixture(scope="session")
def graphs(fitted: Callable[..., Fitted]) -> Callable[[TaskKind], dict[str, bytes]]:
    """The graphs of a fitted model, made once; the first takes some seconds."""

    @functools.cache
    def export(kind: TaskKind) -> dict[str, bytes]:
        graph = to_onnx(fitted(kind).model)
        return {"onnx": graph, "int8": to_int8(graph)}

    return export


@pytest.fixture
def binary(fitted: Callable[[TaskKind], Fitted]) -> Fitted:
    return fitted(TaskKind.BINARY)
