"""Where a bundle may be written: what cannot be replaced is refused before anything is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mlpipe.bundle.staging import check_free
from mlpipe.errors import BundleError


def test_the_folder_that_one_is_in_is_refused(binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    bundle = binary.write(tmp_path / "bundle")
    for folder in (tmp_path / "empty", bundle):
        monkeypatch.chdir(folder)
        for out in (Path(), folder, Path("..") / folder.name):
            with pytest.raises(BundleError, match=r"is the folder that you are in, which no bundle replaces; name one"):
                check_free(out, overwrite=True)
        assert sorted(Path().iterdir()) == sorted(Path(path.name) for path in folder.iterdir())
    with pytest.raises(BundleError, match=r"^'\.' is the folder"):
        binary.write(Path())
    check_free(Path("below"), overwrite=False)
    monkeypatch.chdir(tmp_path)
    check_free(tmp_path / "empty", overwrite=False)
    check_free(bundle, overwrite=True)


def test_a_mounted_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(BundleError, match="is where a file system is mounted, which no bundle replaces; name one"):
        check_free(tmp_path, overwrite=False)
