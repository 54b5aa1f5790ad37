"""How a bundle comes to lie at its path: whole or not at all, and never in place of something else.

The folder is written beside its target (a rename is atomic only within one file system), flushed to disk and
renamed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlpipe.bundle.folder import is_bundle
from mlpipe.bundle.manifest import GRAPHS, MANIFEST, MEMBERS, REQUIRED_FILES
from mlpipe.errors import BundleError
from mlpipe.files import sync_folder

#: The files of a bundle, those of an ensemble's members, and the folders between.
_NAMES = "|".join(map(re.escape, (MANIFEST, *REQUIRED_FILES, *GRAPHS.values())))
_OURS = re.compile(rf"({MEMBERS}(/\d+)?|({MEMBERS}/\d+/)?({_NAMES}))")


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to write where something lies that must not be lost.

    Raises:
        BundleError: Says what lies there.
    """
    if out.is_dir() and (os.path.ismount(out) or out.samefile(os.curdir)):  # what cannot be renamed away
        here = "is where a file system is mounted" if os.path.ismount(out) else "is the folder that you are in"
        raise BundleError(f"{str(out)!r} {here}, which no bundle replaces; name one below it, or another.")
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    if not out.is_dir() or out.is_symlink() or not is_bundle(out):
        raise BundleError(f"{str(out)!r} exists and is not a bundle, so it is never replaced; choose another path.")
    if not overwrite:
        raise BundleError(f"There is a bundle at {str(out)!r} already; --force replaces it.")
    names = (path.relative_to(out).as_posix() for path in out.rglob("*"))
    foreign = sorted(name for name in names if not _OURS.fullmatch(name))
    if foreign:
        raise BundleError(f"The bundle at {str(out)!r} holds {foreign[0]!r}, which is not mlpipe's; move it first.")


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write new files, and have them on the disk when this returns.

    Args:
        folder: It is made if need be.
        contents: By name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with (folder / name).open("xb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    sync_folder(folder)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place if the block succeeds, and is gone if not."""
    token = uuid.uuid4().hex[:12]
    stage, retired = out.parent / f".{out.name}.{token}.new", out.parent / f".{out.name}.{token}.old"
    stage.mkdir()
    try:
        yield stage
        # A folder cannot be renamed over a filled one: for an instant there is no bundle at `out`, never half a one.
        if out.exists():
            out.rename(retired)
        try:
            stage.rename(out)
        except BaseException:
            if retired.exists():
                retired.rename(out)
            raise
        sync_folder(out.parent)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
