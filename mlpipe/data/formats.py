"""Of which format a file is: what its name says, checked against its first bytes.

A name is a claim, the bytes are evidence; where the two contradict each other, the user is told.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from mlpipe.data.sources import FORMAT_OF_ENDING, Source, head
from mlpipe.errors import DataError

_MAGIC = ((b"PAR1", "parquet"), (b"ARROW1", "ipc"))
_FOREIGN = (
    (b"\xff\xfe", "UTF-16 text; say `data.read.encoding: utf-16`"),
    (b"\xfe\xff", "UTF-16 text; say `data.read.encoding: utf-16`"),
    (b"BZh", "bzip2-compressed; decompress it first (gzip, Zstandard and zip are read as they are)"),
    (b"\xfd7zXZ", "xz-compressed; decompress it first (gzip, Zstandard and zip are read as they are)"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save its sheet as CSV"),
    (b"\x89HDF", "an HDF5 file; save the table as Parquet or CSV"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV or Parquet"),
    (b"FEA1", "an old Feather file; write it again as Arrow IPC or Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream; write it as an Arrow file (IPC) or Parquet"),
    (b"\x80\x04\x95", "a Python pickle, which could run code when loaded; save the table as Parquet"),
    (b"%PDF", "a PDF document"),
)
_WHAT = {"parquet": "Parquet", "ipc": "Arrow IPC", "ndjson": "NDJSON", "csv": "CSV text", "tsv": "CSV text"}


def find_format(source: Source, wanted: str | None, encoding: str, nameless: str = "csv") -> str:
    """The format of a file: `csv`, `tsv`, `parquet`, `ipc` or `ndjson`.

    Args:
        source: The file; the ending of its name is what counts if its bytes allow it. A URL's bytes are not looked at.
        wanted: The format the user asked for, or None.
        encoding: The encoding the user gave; UTF-16 is refused only where it is not that.
        nameless: The format of a URL whose ending names none.

    Raises:
        DataError: It is something that cannot be read, or its bytes are not what its name (or the user) says.
    """
    named = FORMAT_OF_ENDING.get(_ending(source))
    if source.is_url:
        return wanted or named or nameless
    sample, _ = head(source, 2**16)
    if not sample.strip():
        raise DataError(f"{source.name} is empty.")
    content = next((format_ for magic, format_ in _MAGIC if sample.startswith(magic)), None)
    if content is None:
        _refuse_foreign(source.name, sample, encoding)
        content = "ndjson" if _is_json_object(sample) else "csv"
    expected = wanted or named or content
    if _WHAT[expected] == _WHAT[content]:
        return expected
    said = f"`data.read.format` says {wanted}" if wanted else f"its name ends in {_ending(source)!r}"
    raise DataError(
        f"{source.name}: {said}, but its bytes are {_WHAT[content]}; "
        f"{'say' if wanted else 'rename it or say'} `data.read.format: {content}`."
    )


def _ending(source: Source) -> str:
    name = source.name.rpartition("::")[2] if isinstance(source.data, bytes) else source.name.partition("?")[0]
    suffixes = PurePosixPath(name).suffixes
    return next((s for s in reversed([suffix.lower() for suffix in suffixes]) if s not in (".gz", ".zst", ".zip")), "")


def _refuse_foreign(name: str, sample: bytes, encoding: str) -> None:
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf16", "utf-32", "utf32"))
    for magic, what in _FOREIGN:
        if sample.startswith(magic) and not (wide and what.startswith("UTF-16")):
            raise DataError(f"{name} is {what}.")
    if sample.lstrip().startswith((b"[{", b"[\n", b"[ ")) and b"{" in sample[:100]:
        raise DataError(f"{name} is a JSON array; write one JSON object per line (NDJSON).")
    if b"\x00" in sample[:4096] and not wide:
        raise DataError(f"{name} is a binary file of unknown kind; CSV, Parquet, Arrow IPC and NDJSON can be read.")


def _is_json_object(sample: bytes) -> bool:
    start = sample.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and start[1:].lstrip().startswith((b'"', b"}"))
