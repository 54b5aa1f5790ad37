"""The model card: what a bundle predicts, from what, how well, and how to call it; Markdown.

Made of the schema and the metrics alone, so that the same run always gives the same card.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlpipe.bundle.manifest import SAMPLE_REQUEST
from mlpipe.features.calibration import EVEN
from mlpipe.schema import Column, Role, Schema, TaskKind

_TASK_WORDS = {
    TaskKind.BINARY: "binary classification",
    TaskKind.MULTICLASS: "multiclass classification",
    TaskKind.MULTILABEL: "multilabel classification",
    TaskKind.REGRESSION: "regression",
}
_ANSWER_WORDS = {
    TaskKind.REGRESSION: "`prediction`, in the unit of the target",
    TaskKind.MULTILABEL: "`prediction`, a list of names, and `probabilities` by name",
}
_TRUNK_WORDS = {"transformer": "Transformer", "mlp": "set of MLPs"}
_FOLD_METRICS = """\
`mean` and `std` are over the folds: what each model by itself reached on the rows that were held out from it. The mean
of all was measured on `test` alone, rows that none of them has seen, where there are any."""


def model_card(
    *,
    name: str,
    schema: Schema,
    metrics: Mapping[str, Any],
    sample_row: Mapping[str, Any],
    source: str | None = None,
    num_parameters: int | None = None,
    trunk: str = "transformer",
    num_members: int = 1,
    kept_rows: int = 0,
    threshold: float = EVEN,
    level: float | None = None,
) -> str:
    """The card's text.

    Args:
        name: Title; the name of the run.
        schema: The raw table and the task.
        metrics: By part of the data, then by name; what is not a mapping of numbers is left out.
        sample_row: A raw row for the example.
        source: The file that the model was trained on, by name.
        num_parameters: Size of the network, or of all of them.
        trunk: As in `TransformerConfig`.
        num_members: Models of a cross-validation whose predictions are averaged; 1: there is but one.
        kept_rows: Training rows that the preprocessing holds, see `Preprocessor.kept_rows`.
        threshold: Binary: the answer is the second class where its probability is above this.
        level: Regression with an interval: the share of rows whose target it is to hold.
    """
    blocks = [
        f"# {name}",
        _purpose(schema, source, num_parameters, trunk, num_members),
        "## How well",
        *([_FOLD_METRICS] if num_members > 1 else []),
        _metrics_table(metrics),
        *_decision(schema, threshold, num_members),
        *_interval(level, num_members),
        "## What it reads",
        _columns_table(schema.features),
        *_left_out(schema),
        "## How to call it",
        _usage(schema, sample_row, level),
        "## Limits",
        _limits(schema, kept_rows),
    ]
    return "\n\n".join(blocks) + "\n"


def _purpose(schema: Schema, source: str | None, num_parameters: int | None, trunk: str, num_members: int) -> str:
    task = schema.task
    target = ", ".join(f"`{name}`" for name in task.target)
    lines = [f"Predicts {target}: {_TASK_WORDS[task.kind]}."]
    if task.classes and task.kind is not TaskKind.MULTILABEL:
        labels = ", ".join(f"`{label}`" for label in task.classes[:20])
        more = f", … ({len(task.classes)} in all)" if len(task.classes) > 20 else ""
        lines.append(f"Its classes are {labels}{more}.")
    if source is not None:
        lines.append(f"Trained on `{source}`.")
    if num_parameters is not None:
        kind = _TRUNK_WORDS[trunk]
        model = f"A {kind}"
        if num_members > 1:
            model = f"The mean of {num_members} models, one for each fold of a cross-validation, each a {kind}"
        in_all = " in all" if num_members > 1 else ""
        lines.append(f"{model} over the table's columns with {num_parameters:,} parameters{in_all}.")
    return "\n".join(lines)


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    parts = {
        part: {name: value for name, value in values.items() if _is_number(value)}
        for part, values in metrics.items()
        if isinstance(values, Mapping)
    }
    names = sorted({name for values in parts.values() for name in values})
    if not names:
        return "No metrics were recorded."
    header = ["metric", *parts]
    rows = [[name, *(_number(values.get(name)) for values in parts.values())] for name in names]
    return _table(header, rows, right=True)


def _decision(schema: Schema, threshold: float, num_members: int) -> list[str]:
    if threshold == EVEN:
        return []
    no, yes = schema.task.classes
    of_all = " (the mean of the models' thresholds)" if num_members > 1 else ""
    lines = [
        f"It answers `{yes}` where the probability of that is above {threshold:.4g}{of_all}, and `{no}` elsewhere.",
        "The `confidence` is the probability of the answer, which may then be below one half.",
    ]
    return ["\n".join(lines)]


def _interval(level: float | None, num_members: int) -> list[str]:
    if level is None:
        return []
    lines = [
        f"`lower` and `upper` are made to hold the target of a share of {level:.4g} of rows like the validation rows",
        "(conformal prediction). The `coverage` of `validation` is no test of that, since these rows set the width;",
        "that of `test` is. It is a share of all rows: of some kinds of rows it may be more and of others less.",
    ]
    if num_members > 1:
        lines.append("The bounds are the means of the models' bounds; this promise is that of each model by itself.")
    return ["\n".join(lines)]


def _columns_table(columns: tuple[Column, ...]) -> str:
    return _table(["column", "kind", "why"], [[f"`{c.name}`", c.kind.value, c.reason] for c in columns])


def _left_out(schema: Schema) -> list[str]:
    others = tuple(c for c in schema.columns if c.role not in (Role.FEATURE, Role.TARGET))
    if not others:
        return []
    rows = [[f"`{c.name}`", c.role.value, c.reason] for c in others]
    return ["These columns of the training file are not read:", _table(["column", "role", "why"], rows)]


def _usage(schema: Schema, sample_row: Mapping[str, Any], level: float | None) -> str:
    sample = {c.name: sample_row[c.name] for c in schema.features if c.name in sample_row}
    answer = _ANSWER_WORDS.get(schema.task.kind, "`prediction`, `probabilities` by class and `confidence`")
    if level is not None:
        answer += ", and its interval's bounds, `lower` and `upper`"
    return "\n".join(
        [
            "```bash",
            "mlpipe predict --bundle BUNDLE --data FILE --out predictions.csv",
            "mlpipe serve BUNDLE --port 8000",
            f"curl http://127.0.0.1:8000/predict -d @BUNDLE/{SAMPLE_REQUEST}",
            "```",
            "",
            f"`{SAMPLE_REQUEST}` is one raw row; the answer holds {answer}:",
            "",
            "```json",
            json.dumps(sample, ensure_ascii=False, indent=2),
            "```",
        ]
    )


def _limits(schema: Schema, kept_rows: int) -> str:
    lines = [
        "- It knows only what the training rows showed. Categories it has not seen share one value, `unseen`, and",
        "  numbers beyond the range of training are treated like the nearest it has seen or extrapolated badly.",
        "- Rows must come from the same source as the training rows; the metrics above say nothing about others.",
    ]
    if schema.task.is_classification:
        lines.append("- Probabilities are as well calibrated as `calibration_error` says, on such rows only.")
    if not any(c.nullable for c in schema.features):
        lines.append("- No nulls were seen in training; a row with nulls gets an answer nobody measured.")
    if kept_rows:
        lines.append(
            f"- The bundle holds features and targets of {kept_rows:,} training rows: it is as private as they are."
        )
    lines.append("- It finds associations, not causes. Check it for groups of people before it decides about people.")
    return "\n".join(lines)


def _table(header: list[str], rows: list[list[str]], *, right: bool = False) -> str:
    rule = ["---", *(("---:" if right else "---") for _ in header[1:])]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in [header, rule, *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"
