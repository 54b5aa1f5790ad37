"""Warnings about what makes a score too good to be true, or worthless in use.

What is notable here:
- A column gives the target away if it alone, scored on rows that it was not fitted on, is next to perfect: a column
  of unique values, which fits its own rows perfectly, is not flagged for that.
- Numbers that add up to a regression target are found by a linear fit of the target on all of them.
- Every check looks at a bounded sample of the training rows, the same one every time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlpipe.data.kinds import identifier_reason
from mlpipe.data.partition import codes
from mlpipe.data.profile import profile_table
from mlpipe.features.sample import folds, sample_rows
from mlpipe.features.typed import category, effective_kind, number, seconds, timestamp, typed
from mlpipe.schema import Column, Kind, Schema, TaskKind

#: Values looked at in all: columns times sampled rows.
SAMPLE_VALUES = 2_000_000
#: Rows hashed of the parts that are compared with the training rows.
DUPLICATE_ROWS = 200_000
#: Rows in which a column has to be mostly unique to be looked at as a possible identifier.
IDENTIFIER_ROWS = 20_000
#: In a table of so many rows, whole numbers that are all different are worth a warning.
MANY_ROWS = 1_000
#: Duplicates in less than this share of a part's rows are no news.
FEW_DUPLICATES = 0.01
#: A column that alone scores more than this gives the target away.
GIVES_AWAY = 0.99
#: A number that goes less than this part of the way from chance to perfect, cut into bins, needs no tree.
WORTH_A_TREE = 0.5
#: A linear fit this good means that the target is a sum of columns.
ADDS_UP = 0.9999

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


def find_warnings(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> list[str]:
    """All warnings about a table that has been split, a sentence each.

    Args:
        schema: The table's schema.
        frames: Raw rows by part; `train` is there, the others may be.
    """
    train = frames["train"]
    return [
        *identifier_warnings(schema, frames),
        *leak_warnings(schema, train),
        *duplicate_warnings(schema, frames),
    ]


def identifier_warnings(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> list[str]:
    """Features that look like identifiers: the model can only learn them by heart."""
    train = frames["train"]
    sample = train[sample_rows(train.height, IDENTIFIER_ROWS)]
    dtypes = train.schema  # put together anew each time it is asked for
    suspects = [
        column.name
        for column in schema.features
        if (dtypes[column.name].is_integer() or dtypes[column.name] == pl.String)
        and column.kind not in (Kind.TEXT, Kind.DATE, Kind.DATETIME, Kind.DURATION)
        and sample[column.name].n_unique() > 0.5 * sample.height
    ]
    if not suspects:
        return []
    # Another file may hold other types; these have none in common with a number.
    words = cs.categorical() | cs.enum() | cs.time()
    parts = [frame.select(suspects).cast({words: pl.String}) for frame in frames.values()]
    table = pl.concat(parts, how="vertical_relaxed")
    warnings = []
    for name, profile in profile_table(table.lazy()).items():
        reason = identifier_reason(name, profile)
        if reason is None and profile.dtype.is_integer() and profile.distinct == profile.rows >= MANY_ROWS:
            reason = f"{profile.rows:,} rows, each with a whole number of its own"
        if reason:
            warnings.append(
                f"Feature {name!r} looks like an identifier ({reason}), which cannot help with new rows; if it is one, "
                f"say `data.columns: {{{name}: identifier}}`."
            )
    return warnings


def leak_warnings(schema: Schema, train: pl.DataFrame) -> list[str]:
    """Features that give the target away, alone or added up."""
    features = schema.features
    rows = max(1_000, min(20_000, SAMPLE_VALUES // max(len(features), 1)))
    sample = train[sample_rows(train.height, rows)]
    if sample.height < 50:
        return []
    values = {column.name: _values(sample[column.name], column) for column in features}
    warnings = []
    for name in schema.task.target:
        target = _target(sample, name, schema.task.kind)
        scores = {column.name: _score(values[column.name], column, target, schema.task.kind) for column in features}
        found = [feature for feature, score in scores.items() if score > GIVES_AWAY]
        # Where most columns are that good, the task is easy, and no column stands out.
        if len(found) <= max(2, len(scores) // 2):
            warnings += [_leak_sentence(feature, name, scores[feature], schema.task.kind) for feature in found]
        if schema.task.kind is TaskKind.REGRESSION and not found:
            warnings += _sum_warning(values, features, name, target)
    return warnings


def duplicate_warnings(schema: Schema, frames: Mapping[str, pl.DataFrame]) -> list[str]:
    """Rows of the other parts whose features are the same as those of a training row."""
    # What has one type everywhere is the same if it is written the same; the rest, if it is read the same.
    types = [frame.schema for frame in frames.values()]
    differ = {column.name for column in schema.features if len({dtypes[column.name] for dtypes in types}) > 1}

    def hashes(frame: pl.DataFrame) -> pl.Series:
        dtypes = frame.schema
        values = [
            _read(column, dtypes[column.name]) if column.name in differ else pl.col(column.name)
            for column in schema.features
        ]
        return frame.select(values).hash_rows(seed=0)

    known = hashes(frames["train"]).unique()
    warnings = []
    for part, frame in frames.items():
        if part == "train" or not frame.height:
            continue
        sample = frame[sample_rows(frame.height, DUPLICATE_ROWS)]
        count = int(hashes(sample).is_in(known.implode()).sum())
        share = count / sample.height
        if share >= FEW_DUPLICATES:
            warnings.append(
                f"{count:,} of {sample.height:,} {part} rows ({share:.1%}) {'has' if count == 1 else 'have'} the same "
                "features as a training row; if they come from one source, split by `data.group`."
            )
    return warnings


def _read(column: Column, dtype: pl.DataType) -> pl.Expr:
    """A feature in the form in which it is the same, whichever type a file gives it."""
    value, made = typed(column, dtype)
    match effective_kind(column):
        case Kind.NUMERIC:
            return number(value, made)
        case Kind.CATEGORICAL:
            return category(value, made)
        case _:
            return value


def _target(sample: pl.DataFrame, name: str, kind: TaskKind) -> Floats:
    column, dtype = pl.col(name), sample.schema[name]
    if kind is TaskKind.REGRESSION:
        return sample.select(number(column, dtype)).to_series().to_numpy()
    return codes(sample.select(category(column, dtype)).to_series()).astype(np.float64)


def _values(raw: pl.Series, column: Column) -> Floats:
    """One number per row, NaN for none; for categories a code."""
    expression, dtype = pl.col(column.name), raw.dtype
    if column.kind in (Kind.DATE, Kind.DATETIME):
        expression = timestamp(expression, dtype, column).cast(pl.Int64).cast(pl.Float64)
    elif column.kind is Kind.DURATION:
        expression = seconds(expression, dtype, column.name)
    elif column.kind is Kind.NUMERIC:
        expression = number(expression, dtype)
    else:
        return codes(raw.to_frame().select(category(expression, dtype)).to_series()).astype(np.float64)
    return raw.to_frame().select(expression).to_series().fill_null(float("nan")).to_numpy()


def _score(values: Floats, column: Column, target: Floats, kind: TaskKind) -> float:
    """How well one column foretells the target of rows it was not fitted on: 1 is perfect, 0 or less is useless.

    Regression: R². Binary and multilabel: area under the ROC curve. Multiclass: accuracy, from the share of the
    largest class (0) to 1.
    """
    # Ranks: a tree needs no more, and huge numbers would not fit its float32.
    ranks = pl.Series(values).fill_nan(None).rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
    fold = folds(len(target), 2)
    if column.kind in (Kind.CATEGORICAL, Kind.BOOLEAN, Kind.TEXT, Kind.IDENTIFIER):
        return _rate(_by_code(ranks, target, fold, kind), target, kind)
    bins = ranks * min(256, len(ranks) // 8) // (ranks.max() + 1)
    quick = _rate(_by_code(bins, target, fold, kind), target, kind)
    chance = 0.0 if kind in (TaskKind.REGRESSION, TaskKind.MULTICLASS) else 0.5
    return (
        quick
        if quick - chance < WORTH_A_TREE * (1 - chance)
        else _rate(_by_tree(ranks, target, fold, kind), target, kind)
    )


def _rate(foretold: Floats, target: Floats, kind: TaskKind) -> float:
    if kind is TaskKind.REGRESSION:
        spread = float(np.var(target))
        return 1 - float(np.mean((target - foretold) ** 2)) / spread if spread else 0.0
    if kind is TaskKind.MULTICLASS:
        largest = float(np.bincount(target.astype(int)).max()) / len(target)
        return (float(np.mean(foretold == target)) - largest) / (1 - largest) if largest < 1 else 0.0
    positives = float(target.sum())
    pairs = positives * (len(target) - positives)
    ranks = pl.Series(foretold).rank("average").to_numpy()
    return (float(ranks @ target) - positives * (positives + 1) / 2) / pairs if pairs else 0.0


def _by_tree(ranks: Positions, target: Floats, fold: Positions, kind: TaskKind) -> Floats:
    """What a small tree, fitted on one fold, foretells of the other."""
    foretold = np.empty_like(target)
    kinds = DecisionTreeClassifier if kind is TaskKind.MULTICLASS else DecisionTreeRegressor
    for i in (0, 1):
        tree = kinds(max_leaf_nodes=64, min_samples_leaf=5, random_state=0)
        tree.fit(ranks[fold != i, None], target[fold != i])
        foretold[fold == i] = tree.predict(ranks[fold == i, None])
    return foretold


def _by_code(codes: Positions, target: Floats, fold: Positions, kind: TaskKind) -> Floats:
    """Mean, or for multiclass most frequent, target of the same code in the other fold; of all its rows if it has none.

    Shape:
        (N,), (N,), (N,) -> (N,)
    """
    foretold = np.empty_like(target)
    for i in (0, 1):
        fit, size = fold != i, int(codes.max()) + 1
        if kind is TaskKind.MULTICLASS:
            classes = int(target.max()) + 1
            pairs = codes[fit] * classes + target[fit].astype(np.int64)
            # The rows of a code with each class; to break ties, and for codes not seen, the frequency of the class.
            usual = np.bincount(target[fit].astype(np.int64), minlength=classes) / (fit.sum() + 1)
            table = (np.bincount(pairs, minlength=size * classes).reshape(size, classes) + usual).argmax(axis=1)
        else:
            count = np.bincount(codes[fit], minlength=size)
            sums = np.bincount(codes[fit], weights=target[fit], minlength=size)
            table = np.where(count, sums / np.maximum(count, 1), target[fit].mean())
        foretold[fold == i] = table[codes[fold == i]]
    return foretold


def _sum_warning(
    values: Mapping[str, Floats], features: tuple[Column, ...], target_name: str, target: Floats
) -> list[str]:
    """Whether the target is a weighted sum of numeric columns."""
    names = [column.name for column in features if column.kind is Kind.NUMERIC]
    columns = [values[name] for name in names]
    columns = [np.nan_to_num((v - np.nanmean(v)) / (np.nanstd(v) or 1.0)) for v in columns if not np.isnan(v).all()]
    spread = float(np.std(target))
    if len(columns) < 2 or len(columns) != len(names) or len(columns) > len(target) // 10 or not spread:
        return []
    x = np.stack(columns, axis=1)
    y = (target - target.mean()) / spread
    fit = folds(len(y), 2) == 0
    weights = np.linalg.lstsq(x[fit], y[fit], rcond=None)[0]
    outside = float(np.var(y[~fit]))  # 0 where all that differ are among the rows of the fit
    if not outside or 1 - float(np.var(y[~fit] - x[~fit] @ weights)) / outside < ADDS_UP:
        return []
    share = np.abs(weights) / np.abs(weights).max()
    parts = [name for name, s in zip(names, share, strict=True) if s > 0.01]
    ignore = ", ".join(f"{part}: ignore" for part in parts)
    sentence = (
        f"The columns {', '.join(map(repr, parts))} add up to the target {target_name!r}; if they are not known "
        f"before it, say `data.columns: {{{ignore}}}`."
    )
    return [sentence]


def _leak_sentence(feature: str, target: str, score: float, kind: TaskKind) -> str:
    measure = {TaskKind.REGRESSION: "R²", TaskKind.MULTICLASS: "accuracy above the largest class"}.get(kind, "AUROC")
    return (
        f"Feature {feature!r} alone gives the target {target!r} away ({measure} {score:.3f} on held-out rows); if it "
        f"is not known before the target, say `data.columns: {{{feature}: ignore}}`."
    )
