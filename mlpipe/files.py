"""Files that are there whole or not at all, also after a power cut; standard library only."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
