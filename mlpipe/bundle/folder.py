"""A bundle's folder: the check that it holds what its manifest lists, and nothing else.

Standard library only, so that a server can refuse a damaged bundle before it loads torch.

- Every file is read once: the bytes that were hashed are the bytes that are used.
- No links, no sub-folders but the members of an ensemble, no file one could be talked into loading.
- A member is a bundle of its own. The manifest around it holds the hash of the member's, which holds those of the
  member's files: no byte of the whole can change unseen.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpipe.bundle.manifest import MANIFEST, MEMBERS, AnyManifest, EnsembleManifest, FileEntry, Manifest, refuse
from mlpipe.errors import BundleError


def is_bundle(folder: Path) -> bool:
    """Whether the folder looks like a bundle, damaged or not: it has a `bundle.json` with a format version."""
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "format_version" in values


def read_manifest(folder: Path, entry: FileEntry | None = None) -> AnyManifest:
    """The manifest of a bundle, once the folder is seen to hold what it lists and nothing else.

    Args:
        folder: The bundle.
        entry: What the ensemble around it says of the manifest; None: there is none around it.

    Raises:
        BundleError: There is no bundle, or its manifest or its list of files is wrong.
    """
    with _readable(folder):
        return _read_manifest(folder, entry)


def _read_manifest(folder: Path, entry: FileEntry | None) -> AnyManifest:
    if not folder.is_dir():
        raise BundleError(f"There is no bundle at {str(folder)!r}.")
    if not (folder / MANIFEST).exists():
        inner = f" Did you mean {str(folder / 'bundle')!r}?" if (folder / "bundle" / MANIFEST).exists() else ""
        raise BundleError(f"{str(folder)!r} is not a bundle: it has no {MANIFEST}.{inner}")
    _check_regular(folder, MANIFEST)
    content = (folder / MANIFEST).read_bytes()
    if entry is not None and FileEntry.of(content) != entry:
        refuse(folder, MANIFEST, f"is not the one that {str(folder.parent.parent / MANIFEST)!r} lists")
    manifest = AnyManifest.from_json(folder, content)
    folders = (MEMBERS,) if isinstance(manifest, EnsembleManifest) else ()
    _refuse_others(folder, (MANIFEST, *manifest.files, *folders))
    if isinstance(manifest, EnsembleManifest):
        _check_folder(folder, MEMBERS)
        names = [str(index) for index in range(len(manifest.members))]
        _refuse_others(folder / MEMBERS, names)
        for name in names:
            _check_folder(folder / MEMBERS, name)
    return manifest


def read_member(folder: Path, manifest: EnsembleManifest, index: int) -> tuple[Path, Manifest]:
    """The folder of an ensemble's member and its manifest, once it is seen to be the one that the ensemble lists.

    Raises:
        BundleError: It is another one, or damaged, or an ensemble itself.
    """
    path, member = folder / MEMBERS / str(index), manifest.members[index]
    found = read_manifest(path, FileEntry(member.sha256, member.size))
    if not isinstance(found, Manifest):
        refuse(path, MANIFEST, "is of an ensemble; an ensemble's members are bundles of one model")
    return path, found


def read_file(folder: Path, manifest: AnyManifest, name: str) -> bytes:
    """The content of a listed file, once its size and SHA-256 are seen to be those of the manifest.

    Raises:
        BundleError: The file is missing, a link, cut off, changed, or may not be read.
    """
    entry = manifest.files[name]
    with _readable(folder):
        size = _check_regular(folder, name)
        if size != entry.size:
            refuse(folder, name, f"has {size} bytes, but {MANIFEST} says {entry.size}: it is incomplete or was changed")
        content = (folder / name).read_bytes()
    if FileEntry.of(content) != entry:
        refuse(folder, name, f"does not match its SHA-256 in {MANIFEST}: it was damaged or changed")
    return content


def verify(folder: Path) -> AnyManifest:
    """Check every file of a bundle, and of its members, without loading a model.

    Raises:
        BundleError: Names the file and says what is wrong with it.
    """
    manifest = read_manifest(folder)
    parts: list[tuple[Path, AnyManifest]] = [(folder, manifest)]
    if isinstance(manifest, EnsembleManifest):
        parts += [read_member(folder, manifest, index) for index in range(len(manifest.members))]
    for path, listing in parts:
        for name in listing.files:
            read_file(path, listing, name)
    return manifest


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """What the system does not let us read is a fault of the bundle: a server goes on with the one that it has."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{str(error.filename or folder)!r} cannot be read: {error.strerror}.") from None


def _refuse_others(folder: Path, listed: Collection[str]) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in listed:
            refuse(folder, path.name, f"is not listed in {MANIFEST}; a bundle holds nothing but its own files")


def _check_regular(folder: Path, name: str) -> int:
    """The size of a file that is one."""
    status = _status(folder, name)
    if not stat.S_ISREG(status.st_mode):
        refuse(folder, name, "is not a regular file; links and folders are not followed")
    return status.st_size


def _check_folder(folder: Path, name: str) -> None:
    if not stat.S_ISDIR(_status(folder, name).st_mode):
        refuse(folder, name, "is not a folder; links are not followed")


def _status(folder: Path, name: str) -> os.stat_result:
    try:
        return (folder / name).lstat()
    except FileNotFoundError:
        refuse(folder, name, f"is missing, though {MANIFEST} lists it")
