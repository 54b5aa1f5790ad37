"""Copies of a bundle, from wherever it lies: there as a whole or not at all, and what they are said to be.

Standard library only: bundles are copied without loading a model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import MANIFEST, MEMBERS, AnyManifest, EnsembleManifest
from mlpipe.bundle.staging import staged
from mlpipe.errors import BundleError

#: Brings the file of a name, a path within the bundle with forward slashes, to a path that is still free.
Fetch = Callable[[str, Path], None]


def copy_bundle(source: Path, out: Path, version: str) -> None:
    """Copy a bundle from a folder.

    Args:
        source: The bundle's.
        out: The folder to make.
        version: What the bundle was found to be; it may have changed since.

    Raises:
        BundleError: The copy is not whole, or of another version.
    """
    assemble(out, version, lambda name, target: _copy(source / name, target))


def assemble(out: Path, version: str, fetch: Fetch) -> None:
    """Fetch the files that a bundle's manifest lists, no others, verify them, and only then let `out` appear.

    Args:
        out: The folder to make.
        version: The version that the bundle has to have.
        fetch: Brings one file.

    Raises:
        BundleError: A file is missing or damaged, or the bundle is of another version.
    """
    with staged(out) as stage:
        manifest = _assemble(stage, "", fetch)
        if isinstance(manifest, EnsembleManifest):
            for index in range(len(manifest.members)):
                _assemble(stage, f"{MEMBERS}/{index}/", fetch)
        if (found := verify(stage).version) != version:
            raise BundleError(f"A bundle of version {version} was expected at {str(out)!r}, and version {found} came.")


def _assemble(stage: Path, inside: str, fetch: Fetch) -> AnyManifest:
    folder = stage / inside
    folder.mkdir(parents=True, exist_ok=True)
    fetch(f"{inside}{MANIFEST}", folder / MANIFEST)
    # Names that lead out of the folder end here.
    manifest = AnyManifest.from_json(folder, (folder / MANIFEST).read_bytes())
    for name in manifest.files:
        fetch(f"{inside}{name}", folder / name)
    return manifest


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except FileNotFoundError as error:
        raise BundleError(f"{str(source)!r} is missing, though the bundle lists it.") from error
