"""What differs between two bundles, and whether one can answer in place of the other; no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlpipe.bundle.folder import read_file, read_manifest, read_member
from mlpipe.bundle.manifest import (
    PREPROCESS,
    SCHEMA,
    WEIGHTS,
    AnyManifest,
    EnsembleManifest,
    Manifest,
    parse_json,
    refuse,
)
from mlpipe.schema import Schema

#: The two values of something that differs; None where one of them has it not.
Pair = tuple[Any, Any]

MISSING = None


@dataclass(frozen=True)
class Facts:
    """What is compared of a bundle.

    Attributes:
        folder: Where it lies.
        manifest: Its `bundle.json`.
        schema: The raw table and the task.
        model: The model's config as a dict; of an ensemble that of its first member, as all that follows.
        preprocessing: What `preprocess.json` holds.
        members: How many models are averaged; 1 for a bundle of one model.
        size: Bytes of all files.
        weights: Bytes of all weights.
    """

    folder: Path
    manifest: AnyManifest
    schema: Schema
    model: dict[str, Any]
    calibration: dict[str, Any]
    preprocessing: dict[str, Any]
    members: int
    size: int
    weights: int


@dataclass(frozen=True)
class Difference:
    """Two bundles side by side.

    Attributes:
        about: `version`, `created`, `mlpipe_version`, `members`, `bytes` and `weights_bytes` of both.
        task: What differs in the task, by field.
        added: Columns that only the second has, and their kind.
        removed: Columns that only the first has, and their kind.
        changed: Columns that are of another kind, or used for something else.
        metrics: By part of the data and name, whether they differ or not.
        model: What differs in the model's config, by dotted key.
        preprocessing: What differs in the options of preprocessing, the transformers of a column, the calibration and
            the options of reading, by dotted key.
        fitted: Columns with the same transformers, which hold other fitted values.
    """

    about: dict[str, Pair]
    task: dict[str, Pair]
    added: dict[str, str]
    removed: dict[str, str]
    changed: dict[str, Pair]
    metrics: dict[str, dict[str, Pair]]
    model: dict[str, Pair]
    preprocessing: dict[str, Pair]
    fitted: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; pairs as lists of two."""
        return asdict(self)


def facts(folder: Path) -> Facts:
    """Read what is compared of a bundle.

    Raises:
        BundleError: It is missing or damaged.
    """
    manifest = read_manifest(folder)
    schema = Schema.from_dict(parse_json(folder, SCHEMA, read_file(folder, manifest, SCHEMA)))
    inside, count = folder, 1
    parts: list[Manifest] = []
    if isinstance(manifest, EnsembleManifest):
        count = len(manifest.members)
        inside = read_member(folder, manifest, 0)[0]
        parts = [read_member(folder, manifest, index)[1] for index in range(count)]
    elif isinstance(manifest, Manifest):
        parts = [manifest]
    if not parts:
        refuse(folder, SCHEMA, "belongs to a kind of bundle that cannot be compared")
    preprocessing = parse_json(inside, PREPROCESS, read_file(inside, parts[0], PREPROCESS))
    return Facts(
        folder,
        manifest,
        schema,
        parts[0].model,
        parts[0].calibration,
        preprocessing,
        count,
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        sum(part.files[WEIGHTS].size for part in parts),
    )


def difference(first: Facts, second: Facts) -> Difference:
    """Two bundles side by side."""
    mine = {column.name: column for column in first.schema}
    theirs = {column.name: column for column in second.schema}
    transformers = _by_column(first), _by_column(second)
    options = _options(first), _options(second)
    kinds = {name: _transformer_names(states) for name, states in transformers[0].items()}
    other_kinds = {name: _transformer_names(states) for name, states in transformers[1].items()}
    return Difference(
        about={name: (_about(first)[name], value) for name, value in _about(second).items()},
        task=dict(_differing(first.schema.task.to_dict(), second.schema.task.to_dict())),
        added={name: str(column.kind) for name, column in theirs.items() if name not in mine},
        removed={name: str(column.kind) for name, column in mine.items() if name not in theirs},
        changed={
            name: (f"{column.kind}, {column.role}", f"{theirs[name].kind}, {theirs[name].role}")
            for name, column in mine.items()
            if name in theirs and (column.kind, column.role) != (theirs[name].kind, theirs[name].role)
        },
        metrics=_metrics(first.manifest.metrics, second.manifest.metrics),
        model=dict(_differing(first.model, second.model)),
        preprocessing={
            **dict(_differing(*options)),
            **{
                f"transformers.{name}": (kinds.get(name), other_kinds.get(name))
                for name in {**kinds, **other_kinds}
                if kinds.get(name) != other_kinds.get(name)
            },
        },
        fitted=[
            name
            for name, states in transformers[0].items()
            if states != transformers[1].get(name, states) and kinds[name] == other_kinds[name]
        ],
    )


def incompatibility(first: Facts, second: Facts) -> str | None:
    """Why the second bundle cannot answer the requests that the first does; None if it can.

    Returns:
        The end of a sentence, such as `needs the column 'age' (numeric)`.
    """
    mine, theirs = first.schema.task, second.schema.task
    if mine.kind is not theirs.kind or mine.target != theirs.target:
        return f"predicts {_named(theirs.target)} ({theirs.kind}) and not {_named(mine.target)} ({mine.kind})"
    if mine.classes != theirs.classes:
        return f"has the classes {_named(theirs.classes)} and not {_named(mine.classes)}"
    kinds = {column.name: column.kind for column in first.schema.features}
    for column in second.schema.features:
        if column.name not in kinds:
            return f"needs the column {column.name!r} ({column.kind})"
        if column.kind is not kinds[column.name]:
            return f"takes the column {column.name!r} as {column.kind} and not as {kinds[column.name]}"
    there = {column.name for column in second.schema.features}
    missing = [name for name in kinds if name not in there]
    return f"does not know the column {missing[0]!r} ({kinds[missing[0]]})" if missing else None


def _about(facts: Facts) -> dict[str, Any]:
    return {
        "version": facts.manifest.version,
        "created": facts.manifest.created,
        "mlpipe_version": facts.manifest.mlpipe_version,
        "members": facts.members,
        "bytes": facts.size,
        "weights_bytes": facts.weights,
    }


def _options(facts: Facts) -> dict[str, Any]:
    return {
        "features": facts.preprocessing["config"],
        "target": {"transform": facts.preprocessing["target"]["transform"]},
        "neighbors": facts.preprocessing["neighbors"] is not None,
        "calibration": facts.calibration,
        "read": facts.manifest.read or {},
    }


def _by_column(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    return dict(facts.preprocessing["transformers"])


def _transformer_names(states: list[dict[str, Any]]) -> str:
    return ", ".join(str(state["transformer"]) for state in states)


def _metrics(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, Pair]]:
    """Numbers by part and name; those of no part, such as the seconds of training, are left out."""
    parts: dict[str, dict[str, Pair]] = {}
    for part in {**first, **second}:
        values, others = first.get(part) or {}, second.get(part) or {}
        if isinstance(values, Mapping) and isinstance(others, Mapping):
            parts[part] = {name: (values.get(name), others.get(name)) for name in {**values, **others}}
    return parts


def _differing(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Pair]]:
    for key in {**first, **second}:
        value, other = first.get(key, MISSING), second.get(key, MISSING)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _differing(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", (value, other)


def _named(values: tuple[Any, ...]) -> str:
    shown = ", ".join(repr(value) for value in values[:5])
    return shown + (", …" if len(values) > 5 else "")
