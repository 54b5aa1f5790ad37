"""How a bundle comes to lie at its path: whole or not at all, and never in place of something else.

The folder is written beside its target (a rename is atomic only within one file system), flushed to disk and
renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlpipe.bundle.manifest import MANIFEST, REQUIRED_FILES, is_bundle
from mlpipe.errors import BundleError


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to write where something lies that must not be lost.

    Raises:
        BundleError: Says what lies there.
    """
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    if not out.is_dir() or out.is_symlink() or not is_bundle(out):
        raise BundleError(f"{str(out)!r} exists and is not a bundle, so it is never replaced; choose another path.")
    if not overwrite:
        raise BundleError(f"There is a bundle at {str(out)!r} already; --force replaces it.")
    ours = {MANIFEST, *REQUIRED_FILES}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if foreign:
        raise BundleError(f"The bundle at {str(out)!r} holds {foreign[0]!r}, which is not mlpipe's; move it first.")


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place if the block succeeds, and is gone if not."""
    token = uuid.uuid4().hex[:12]
    stage, retired = out.parent / f".{out.name}.{token}.new", out.parent / f".{out.name}.{token}.old"
    stage.mkdir()
    try:
        yield stage
        _sync_folder(stage)
        # A folder cannot be renamed over a filled one: for an instant there is no bundle at `out`, never half a one.
        if out.exists():
            out.rename(retired)
        try:
            stage.rename(out)
        except BaseException:
            if retired.exists():
                retired.rename(out)
            raise
        _sync_folder(out.parent)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
