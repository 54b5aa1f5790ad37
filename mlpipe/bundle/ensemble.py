"""An ensemble on disk: one bundle whose folder `members` holds several, of the same table and task.

    bundle.json, schema.json, statistics.json, model_card.md, sample_request.json
    members/0/…  members/1/…     each a bundle of one model, which could be served by itself

Every member has its own preprocessing, fitted on its own rows; what is averaged are predictions, in the classes' one
order or in the target's unit (`mlpipe.bundle.predictor.EnsemblePredictor`).

Its statistics are of the rows of all members. They are counted in the features of one of them, the observed member: the
last, which of folds in time order has seen the most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe.bundle import manifest as files
from mlpipe.bundle.folder import read_file, read_manifest, read_member
from mlpipe.bundle.format import BundleContents, parse_schema, parse_statistics, plain, read_model
from mlpipe.bundle.manifest import EnsembleManifest, FileEntry, Manifest, Member, refuse
from mlpipe.bundle.staging import check_free, staged, write_files
from mlpipe.features.statistics import Statistics
from mlpipe.schema import Schema

#: The place of the observed member.
OBSERVED = -1


@dataclass(frozen=True)
class EnsembleContents:
    """An ensemble that was read and found whole.

    Attributes:
        folder: Where it lies.
        manifest: Its `bundle.json`.
        schema: The raw table and the task, the same for every member.
        statistics: What the training rows of all members looked like, and what is answered for rows unseen.
        members: The bundles whose predictions are averaged.
        sample_request: One raw row.
    """

    folder: Path
    manifest: EnsembleManifest
    schema: Schema
    statistics: Statistics
    members: tuple[BundleContents, ...]
    sample_request: dict[str, Any]

    @property
    def version(self) -> str:
        """The short hash that names the content."""
        return self.manifest.version


#: A bundle of either kind, read.
Contents = BundleContents | EnsembleContents


def read_contents(path: str | Path) -> Contents:
    """Read a bundle of either kind and check all of it.

    Raises:
        BundleError: Names the file and says what is wrong with it.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if isinstance(manifest, Manifest):
        return read_model(folder, manifest)
    assert isinstance(manifest, EnsembleManifest)  # there are two kinds
    contents = {name: read_file(folder, manifest, name) for name in manifest.files}
    schema = parse_schema(folder, manifest, contents[files.SCHEMA])
    members = [read_model(*read_member(folder, manifest, index)) for index in range(len(manifest.members))]
    _check_same_table(schema, members)
    statistics = parse_statistics(folder, contents[files.STATISTICS], members[OBSERVED].preprocessor)
    sample = files.parse_json(folder, files.SAMPLE_REQUEST, contents[files.SAMPLE_REQUEST])
    return EnsembleContents(folder, manifest, schema, statistics, tuple(members), sample)


def write_ensemble(
    out: Path,
    members: Sequence[BundleContents],
    *,
    statistics: Statistics,
    metrics: Mapping[str, Any],
    model_card: str,
    graphs: Sequence[Mapping[str, bytes]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write bundles that were read as one ensemble, whole or not at all.

    Args:
        out: The folder to make; its parents are made too.
        members: At least one; the schema, the sample request and the options for reading are the first one's.
        statistics: Of the whole, in the observed member's features; see `mlpipe.bundle.describing`.
        metrics: Any nested mapping of numbers; NaN is written as null.
        model_card: Markdown.
        graphs: The network of each member as graphs too, by the backend that runs them.
        overwrite: Replace a bundle at `out`. Anything else at `out` is never replaced.

    Returns:
        `out`.

    Raises:
        BundleError: `out` is taken, or a member is of another table or was changed since it was read.
    """
    check_free(out, overwrite=overwrite)
    first = members[0]
    _check_same_table(first.schema, members)
    shared = {name: read_file(first.folder, first.manifest, name) for name in (files.SCHEMA, files.SAMPLE_REQUEST)}
    contents = {
        **shared,
        files.STATISTICS: files.dump_json(statistics.to_dict()).encode(),
        files.MODEL_CARD: model_card.encode(),
    }
    added = [{files.GRAPHS[name]: graph for name, graph in own.items()} for own in graphs or [{}] * len(members)]
    listings = [_listing(member.manifest, more) for member, more in zip(members, added, strict=True)]
    manifests = [listing.to_json().encode() for listing in listings]
    entries = [FileEntry.of(manifest) for manifest in manifests]
    manifest = EnsembleManifest(
        mlpipe_version=mlpipe.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=first.schema.task.to_dict(),
        metrics=plain(metrics),
        read=first.manifest.read,
        files={name: FileEntry.of(content) for name, content in contents.items()},
        members=tuple(
            Member(listing.version, entry.sha256, entry.size) for listing, entry in zip(listings, entries, strict=True)
        ),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with staged(out) as stage:
        for index, (member, more, content) in enumerate(zip(members, added, manifests, strict=True)):
            parts = {name: read_file(member.folder, member.manifest, name) for name in member.manifest.files}
            write_files(stage / files.MEMBERS / str(index), {**parts, **more, files.MANIFEST: content})
        write_files(stage / files.MEMBERS, {})
        write_files(stage, {**contents, files.MANIFEST: manifest.to_json().encode()})
    return out


def _listing(manifest: Manifest, more: Mapping[str, bytes]) -> Manifest:
    """The manifest of a member that gets further files."""
    return replace(manifest, files={**manifest.files, **{name: FileEntry.of(graph) for name, graph in more.items()}})


def _check_same_table(schema: Schema, members: Sequence[BundleContents]) -> None:
    for member in members:
        if member.schema != schema:
            refuse(member.folder, files.SCHEMA, "is of another table or task than the rest of the ensemble")
