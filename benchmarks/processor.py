"""Which processor figures are of: how two programs compare depends on its vector and matrix units too."""

from __future__ import annotations

import os
from pathlib import Path

from mlpipe.training.environment import hardware

#: What an x86 processor may have, by the flag of Linux; of the vector units the widest is named alone.
VECTOR_UNITS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}
MATRIX_UNITS = {"amx_bf16": "AMX"}


def processor() -> str:
    """This machine's, as results name it: model, units, hardware threads that this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    units = units_of(cpuinfo.read_text(encoding="utf-8")) if cpuinfo.is_file() else []
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([hardware()["cpu"], *units, f"{threads} hardware threads"])


def units_of(cpuinfo: str) -> list[str]:
    """The units that the text of `/proc/cpuinfo` tells of; none on another architecture.

    Examples:
        >>> units_of("flags : fpu avx avx2 avx512f amx_bf16"), units_of("Features : fp asimd")
        (['AVX-512', 'AMX'], [])
    """
    flags = next((line.split(":", 1)[1].split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    vectors = [name for flag, name in VECTOR_UNITS.items() if flag in flags][:1]
    return vectors + [name for flag, name in MATRIX_UNITS.items() if flag in flags]
