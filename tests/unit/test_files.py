from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.files import beside, refuse_folder, write_whole


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(path, b"half")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_a_file_takes_the_place_of_another_only_when_it_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    with beside(out) as part:
        part.write_text("new")
        assert out.read_text() == "old"
    assert out.read_text() == "new"
    with pytest.raises(UnicodeEncodeError), beside(out) as part:
        part.write_text("half \ud800", encoding="utf-8")
    assert out.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no", "elsewhere"), OSError("gone (os error 2)")])
def test_other_errors_of_the_system_stay_as_they_are(tmp_path: Path, error: OSError) -> None:
    """They may be those of a file that is read."""
    with pytest.raises(OSError, match=r"no|gone") as caught, beside(tmp_path / "out.csv"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_full_disk_is_told_of_the_file_also_by_a_library_that_has_it_in_its_text(
    tmp_path: Path, kind: type[Exception]
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(OSError, match="No space left on device") as caught, beside(out):
        raise kind("underlying IO error: No space left on device (os error 28)")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(out))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^'{re.escape(str(tmp_path))}' is a folder, which no file replaces; name"):
        refuse_folder(tmp_path)
    refuse_folder(tmp_path / "file")
