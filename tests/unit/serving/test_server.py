"""What is decided before any process starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.serving import server


def test_metrics_lie_in_memory_unless_there_is_no_such_place_or_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(server, "_IN_MEMORY", str(tmp_path))
    assert server.folder_in_memory() == str(tmp_path)
    monkeypatch.setattr(server, "_IN_MEMORY", str(tmp_path / "none"))
    assert server.folder_in_memory() is None
    monkeypatch.setattr(server, "_IN_MEMORY", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert server.folder_in_memory() is None
