"""The C library keeps freed memory: large blocks come back without the system's help."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from mlpipe.memory import keep_freed_memory

CODE = """
import resource
import numpy as np
from mlpipe.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del [np.ones(3_000_000) for _ in range(8)][:]  # 192 MB, freed at once: more than glibc keeps of its own accord
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(*[faults() for _ in range(5)])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again() -> None:
    def faults(keep: bool) -> list[int]:
        command = [sys.executable, "-c", CODE.format(keep=keep)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [int(word) for word in out.split()]

    kept, anew = faults(True), faults(False)
    # 192 MB are 96 pages where the system gives huge ones, and 46,875 where it does not. The first round is not
    # compared: it is mapped in one case and the heap grows in the other, and so the size of its pages differs.
    assert max(kept[1:]) < 10, kept
    assert min(anew[1:]) > 50, anew


def test_other_systems_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
