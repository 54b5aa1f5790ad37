"""What a run was made of and on: code, packages, hardware and data, for `env.json`.

torch is loaded only when the accelerators are looked up.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe.stores import without_credentials

#: Git answers at once or not at all (a repository on a network drive that is gone).
_GIT_TIMEOUT_SECONDS = 10


def environment(data_files: Iterable[str | Path], root: str | Path = ".") -> dict[str, Any]:
    """Everything about this run that the config does not say.

    Args:
        data_files: The files that were read; each is read once more, for its hash.
        root: The folder whose git commit is noted.

    Returns:
        Plain JSON values: `time`, `command`, `git` (null outside of a repository), `mlpipe`, `python`, `packages`,
        `hardware` and `data`.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [without_credentials(argument) for argument in sys.argv],
        "git": git_state(Path(root)),
        "mlpipe": mlpipe.__version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "hardware": hardware(),
        "data": [file_fingerprint(file) for file in data_files],
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and branch of the repository around a folder, and whether files differ from the commit.

    Returns:
        None if git is not installed, or the folder is in no repository or in one without a commit.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain")
    return {"commit": commit, "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"), "dirty": bool(changes)}


def package_versions() -> dict[str, str]:
    """Version of every installed distribution, by name, sorted."""
    found = {str(d.metadata["Name"]).lower(): d.version for d in metadata.distributions()}
    return dict(sorted(found.items()))


def hardware() -> dict[str, Any]:
    """Processor, cores (usable by this process), memory in GiB and accelerators."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerators": _accelerators(),
    }


def file_fingerprint(name: str | Path) -> dict[str, Any]:
    """Size, time of change and SHA-256 of a file.

    A name that is no local file (a URL, a glob, a member of an archive) is noted as it is, without a hash.

    Examples:
        >>> file_fingerprint("s3://bucket/table.parquet")
        {'path': 's3://bucket/table.parquet'}
    """
    path = Path(name)
    if not path.is_file():
        return {"path": without_credentials(str(name))}
    state = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    changed = datetime.fromtimestamp(state.st_mtime, UTC).isoformat(timespec="seconds")
    return {"path": str(path), "bytes": state.st_size, "modified": changed, "sha256": digest}


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answer = subprocess.run(
            [git, "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _cpu_model() -> str:
    """Linux tells the model in a file of its own; `platform` knows the architecture there at best."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerators() -> list[dict[str, Any]]:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [{"name": device.name, "memory_gib": round(device.total_memory / 2**30, 1)} for device in found]
    if torch.backends.mps.is_available():
        return [{"name": "mps"}]
    return []
