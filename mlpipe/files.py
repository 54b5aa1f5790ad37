"""Files that are there whole or not at all, also after a power cut; standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlpipe.errors import ConfigError

#: What the system says of a disk, a user's share of it or a file that is full; only who writes hears it.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, new or in place of the old one, such that a reader sees one of the two and never a part.

    Args:
        path: In a folder that is there.
        content: All of it.
    """
    stage = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.new"
    try:
        with stage.open("xb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A path for a file that takes the place of `out` if the block succeeds, and is gone if not.

    It lies in a folder of its own, `out`'s sibling, so that the rename stays within one file system, and is swept up
    even after a second Ctrl-C.

    Raises:
        OSError: There is no room for the file, also where a library has that in its text alone.
    """
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / out.name
        try:
            yield part
        except Exception as error:
            number = system_error_number(error)
            if number is None or number not in NO_ROOM:
                raise
            raise OSError(number, os.strerror(number), str(out)) from error
        part.replace(out)


def system_error_number(error: Exception) -> int | None:
    """The system's number of an error; Polars has it in the text alone, and not only of an OSError.

    Examples:
        >>> system_error_number(ValueError("underlying IO error: No space left on device (os error 28)"))
        28
        >>> system_error_number(ValueError("3 columns")) is None
        True
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def refuse_folder(file: Path) -> None:
    """Refuse to write a file where a folder lies; to be asked before anything slow is done.

    Raises:
        ConfigError: Names the folder.
    """
    if file.is_dir():
        raise ConfigError(f"{str(file)!r} is a folder, which no file replaces; name a file, for example one in it.")


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
