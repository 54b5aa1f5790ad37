"""From a store of artifacts into a cache: bundles that were verified and are what was registered.

Whoever can write to the store may have put anything there. So the hash of the manifest comes from elsewhere, the
manifest lists the files with their hashes, and names that come from the store are compared with plain ones and never
become paths.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mlpipe.bundle.copying import assemble
from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import MANIFEST, MEMBERS, FileEntry
from mlpipe.errors import BundleError, ConfigError

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MEMBER = re.compile(rf"{MEMBERS}(/\d+)?")


class Entry(Protocol):
    """A file or folder of a store: its path from the run's root, and which of the two it is."""

    @property
    def path(self) -> str: ...  # noqa: D102  # MLflow documents it

    @property
    def is_dir(self) -> bool: ...  # noqa: D102  # MLflow documents it


class Store(Protocol):
    """What `MlflowClient` does with artifacts."""

    def list_artifacts(self, run_id: str, path: str | None = None) -> Sequence[Entry]: ...  # noqa: D102  # MLflow documents it

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str: ...  # noqa: D102  # MLflow documents it


def cached(cache: Path, digest: str, download: Callable[[Path], None]) -> Path:
    """A bundle's folder in a cache; downloaded if it isn't there or was damaged.

    Args:
        cache: The folder of the cache; it is made if need be.
        digest: SHA-256 of the bundle's manifest.
        download: Makes the folder that it is given; only one process does so at a time.

    Raises:
        BundleError: What was downloaded has another manifest.
        ConfigError: The cache cannot be written to.
    """
    folder = cache / digest[:32]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise ConfigError(f"The cache {str(cache)!r} cannot be written to ({error.strerror}).") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not _is_whole(folder, digest):
            shutil.rmtree(folder, ignore_errors=True)
            download(folder)
            if not _is_whole(folder, digest):
                shutil.rmtree(folder)
                raise BundleError(f"The {MANIFEST} that was downloaded is not the one that was registered.")
    return folder


def download_bundle(store: Store, run_id: str, root: str, folder: Path, version: str) -> None:
    """Download a bundle, verify it, and only then let `folder` appear.

    Args:
        store: Where it lies.
        run_id: The run whose artifacts hold it.
        root: Its folder among them.
        folder: The folder to make.
        version: What the bundle has to be.

    Raises:
        BundleError: The store lists what is no part of a bundle, or the bundle is damaged or another one.
    """
    listed = set(_files(store, run_id, root, root))
    with tempfile.TemporaryDirectory(prefix=".download.", dir=folder.parent) as temporary:

        def fetch(name: str, target: Path) -> None:
            if name not in listed:
                raise BundleError(f"The bundle in the store has no {name!r}, though it has to have one.")
            came = Path(store.download_artifacts(run_id, f"{root}/{name}", temporary))
            if came.is_symlink() or not came.is_file() or Path(temporary).resolve() not in came.resolve().parents:
                raise BundleError(f"The store gave {str(came)!r} for {name!r}; links are not followed.")
            came.rename(target)

        assemble(folder, version, fetch)


def _files(store: Store, run_id: str, root: str, path: str) -> Iterator[str]:
    """The files of a bundle in a store, by their paths within it."""
    for entry in store.list_artifacts(run_id, path):
        name = entry.path.removeprefix(f"{path}/")
        if name == entry.path or not _PLAIN.fullmatch(name):
            raise BundleError(f"The store lists {entry.path!r} in {path!r}, which is no file of a bundle.")
        inside = entry.path.removeprefix(f"{root}/")
        if not entry.is_dir:
            yield inside
        elif _MEMBER.fullmatch(inside):
            yield from _files(store, run_id, root, entry.path)
        else:
            raise BundleError(f"The store lists the folder {entry.path!r}, which no bundle has.")


def _is_whole(folder: Path, digest: str) -> bool:
    if not folder.exists():
        return False
    try:
        verify(folder)
    except BundleError:
        return False
    return FileEntry.of((folder / MANIFEST).read_bytes()).sha256 == digest
