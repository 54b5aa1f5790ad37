"""The model card says what the schema and the metrics say, and nothing that changes from one export to the next."""

from __future__ import annotations

from typing import Any

from mlpipe.bundle.card import model_card
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

SCHEMA = Schema(
    columns=(
        Column("id", Kind.IDENTIFIER, Role.IDENTIFIER, reason="every value is different"),
        Column("age", Kind.NUMERIC, reason="whole numbers", nullable=False),
        Column("a|b", Kind.CATEGORICAL, reason="9 different words", nullable=False),
        Column("income", Kind.CATEGORICAL, Role.TARGET),
    ),
    task=Task(TaskKind.BINARY, ("income",), ("<=50K", ">50K")),
)
METRICS = {
    "validation": {"auroc": 0.91234, "log_loss": 0.3},
    "test": {"auroc": 0.9, "log_loss": None},
    "train_seconds": 12.5,
}


def card(schema: Schema = SCHEMA, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "name": "census",
        "schema": schema,
        "metrics": METRICS,
        "sample_row": {"age": 39, "a|b": "x", "income": "<=50K"},
        "source": "adult.csv",
        "num_parameters": 12_345,
    }
    return model_card(**{**arguments, **changes})


def test_it_says_what_is_predicted_from_what_and_how_well() -> None:
    text = card()
    assert text.startswith("# census\n")
    assert "Predicts `income`: binary classification.\nIts classes are `<=50K`, `>50K`." in text
    assert "Trained on `adult.csv`." in text
    assert "12,345 parameters" in text
    assert (
        "| metric | validation | test |\n| --- | ---: | ---: |\n| auroc | 0.9123 | 0.9 |\n| log_loss | 0.3 |  |" in text
    )
    assert "train_seconds" not in text
    assert "| `age` | numeric | whole numbers |" in text
    assert "| `a\\|b` | categorical | 9 different words |" in text
    assert "| `id` | identifier | every value is different |" in text


def test_it_says_which_kind_of_model_it_is() -> None:
    assert "A Transformer over the table's columns with 12,345 parameters." in card()
    assert "A set of MLPs over the table's columns with 12,345 parameters." in card(trunk="mlp")
    assert "each a set of MLPs over" in card(trunk="mlp", num_members=3)


def test_the_sample_holds_the_features_only() -> None:
    sample = card().split("```json\n")[1].split("```")[0]
    assert "age" in sample
    assert "income" not in sample


def test_regression_names_no_classes_and_no_probabilities() -> None:
    schema = Schema(SCHEMA.columns, Task(TaskKind.REGRESSION, ("income",)))
    text = card(schema)
    assert "classes" not in text
    assert "robabilit" not in text


def test_many_classes_are_cut_short() -> None:
    schema = Schema(SCHEMA.columns, Task(TaskKind.MULTICLASS, ("income",), tuple(range(100))))
    assert "`19`, … (100 in all)" in card(schema)


def test_nulls_are_a_limit_only_where_training_saw_none() -> None:
    assert "No nulls were seen" in card()
    assert "No nulls were seen" not in card(SCHEMA.replacing("age", nullable=True))


def test_no_metrics_are_said_to_be_none() -> None:
    assert "No metrics were recorded." in card(metrics={})


def test_rows_that_it_holds_are_told() -> None:
    assert "training rows: it is as private" not in card()
    assert "features and targets of 1,234 training rows" in card(kept_rows=1234)


def test_an_ensemble_says_of_what_and_what_its_metrics_are() -> None:
    text = card(num_members=3, metrics={"mean": {"auroc": 0.9}, "std": {"auroc": 0.01}})
    assert "The mean of 3 models, one for each fold of a cross-validation" in text
    assert "12,345 parameters in all." in text
    assert "on the rows that were held out from it" in text
    assert "| auroc | 0.9 | 0.01 |" in text
    assert "over the folds" not in card()
