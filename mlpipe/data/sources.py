"""From what a user wrote as a path to the files behind it: globs, URLs, members of zip archives, their first bytes.

Every way in which a path can be wrong has its own sentence, with what would be right.
"""

from __future__ import annotations

import glob
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import polars as pl

from mlpipe.errors import DataError, did_you_mean

#: Bytes of decompressed text from which the ways of a file are detected.
SAMPLE_BYTES = 8 * 2**20
#: Lines read for the same purpose where bytes cannot be had: URLs and Zstandard.
SAMPLE_LINES = 20_000

#: Formats by the ending of a file's name.
FORMAT_OF_ENDING = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}
#: What Python raises for a compressed file that is cut short or corrupt.
DAMAGE = (OSError, EOFError, zlib.error)
_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"


@dataclass(frozen=True)
class Source:
    """One file to be read.

    Attributes:
        name: What messages call it.
        data: A local path, a URL, or the bytes of an archive's member.
    """

    name: str
    data: Path | str | bytes

    @property
    def is_url(self) -> bool:
        """Whether only Polars can open it."""
        return isinstance(self.data, str)


def find_sources(path: str | Path) -> list[Source]:
    """The files that a path, glob, URL or `archive.zip::member` stands for, in sorted order.

    Raises:
        DataError: There is no such file, it is a folder, empty, or a zip archive from which none was chosen.
    """
    text = str(path)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" in text:
        return [Source(text, text)]
    local = Path(text).expanduser()
    if not local.exists():
        archive, separator, member = text.rpartition("::")
        if separator:
            return [_member(Path(archive).expanduser(), member)]
        matches = sorted(Path(match) for match in glob.glob(str(local), recursive=True))
        if matches := [match for match in matches if match.is_file()]:
            return [_local(match) for match in matches]
        raise _missing(local)
    if local.is_dir():
        raise DataError(f"{text} is a folder; name one file in it, or several by a glob such as {_glob_in(local)}.")
    return [_local(local)]


def head(source: Source, size: int | None = None) -> tuple[bytes, bool]:
    """The first bytes of a file, decompressed, and whether they are all of it.

    Args:
        source: The file.
        size: How many; None: SAMPLE_BYTES.

    Raises:
        DataError: The file is damaged or cannot be opened.
    """
    if source.is_url or _start(source).startswith(_ZSTD):
        return _head_lines(source)
    size = SAMPLE_BYTES if size is None else size
    try:
        with open_bytes(source) as file:
            found = file.read(size + 1)
    except DAMAGE as error:
        raise damaged(source, error) from error
    return found[:size], len(found) <= size


def damaged(source: Source, error: BaseException) -> DataError:
    """What is said of a file that cannot be decompressed to its end."""
    return DataError(f"{source.name} cannot be decompressed, so it is damaged or cut short: {error}.")


def open_bytes(source: Source) -> IO[bytes]:
    """The decompressed bytes of a file; of a URL or a Zstandard file only the first ones."""
    start = _start(source)
    if source.is_url or start.startswith(_ZSTD):
        return io.BytesIO(_head_lines(source)[0])
    if start.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(io.BytesIO(source.data) if isinstance(source.data, bytes) else source.data))
    return io.BytesIO(source.data) if isinstance(source.data, bytes) else Path(source.data).open("rb")


def decoded_lines(name: str, lines: Iterable[bytes], encoding: str = "utf8") -> Iterator[str]:
    """Lines as text, without a byte order mark.

    Raises:
        DataError: A byte is no text in this encoding; the sentence names it and its line.
    """
    codec, errors = ("utf8", "replace") if encoding == "utf8-lossy" else (encoding, "strict")
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode(codec, errors)
            yield text.removeprefix("\ufeff") if number == 1 else text
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} is not {encoding} text (byte 0x{line[error.start]:02X} in line {number}); say which it is in "
                "`data.read.encoding`, for example latin-1, cp1252 or utf-16, or utf8-lossy to replace such bytes."
            ) from error


def read_all(source: Source) -> bytes:
    """All bytes of a file, decompressed; for encodings that Polars does not read.

    Raises:
        DataError: It is a URL, compressed with Zstandard, or damaged.
    """
    if source.is_url or _start(source).startswith(_ZSTD):
        raise DataError(f"{source.name}: other encodings than utf8 are read from local files only; fetch it first.")
    try:
        with open_bytes(source) as file:
            return file.read()
    except DAMAGE as error:
        raise damaged(source, error) from error


def polars_data(sources: Sequence[Source]) -> list[bytes] | list[Path | str]:
    """What Polars scans files from: all by their paths and URLs, or all from memory.

    Raises:
        DataError: One has to be read into memory and cannot be; see `read_all`.
    """
    if all(not isinstance(source.data, bytes) for source in sources):
        return [source.data for source in sources if not isinstance(source.data, bytes)]
    return [read_all(source) for source in sources]


def _start(source: Source) -> bytes:
    if isinstance(source.data, bytes):
        return source.data[:8]
    if isinstance(source.data, str):
        return b""
    with source.data.open("rb") as file:
        return file.read(8)


def _head_lines(source: Source) -> tuple[bytes, bool]:
    try:
        lines = pl.scan_csv(
            source.data,
            has_header=False,
            new_columns=["line"],
            separator="\x01",
            quote_char=None,
            infer_schema=False,
            n_rows=SAMPLE_LINES,
            glob=False,
        ).collect()["line"]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{source.name} cannot be opened: {first_line(error)}") from error
    return "".join(f"{line or ''}\n" for line in lines).encode(), len(lines) < SAMPLE_LINES


def refuse_patterns(source: str, names: Iterable[str]) -> None:
    """Refuse names that stand for several columns in Polars.

    Raises:
        DataError: Names the column.
    """
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise DataError(
                f"{source}: the column name {name!r} is a pattern that stands for other columns too; rename it "
                "(a text file's columns can be named in `data.read.columns`)."
            )


def first_line(error: BaseException) -> str:
    """The first line of an error of Polars, without the advice that follows it."""
    return str(error).strip().split("\n")[0]


def _local(path: Path) -> Source:
    name = str(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except PermissionError as error:
        raise DataError(f"{name} may not be read by this user.") from error
    if not start:
        raise DataError(f"{name} is empty (0 bytes).")
    return _member(path, None) if start == _ZIP else Source(name, path)


def _member(archive: Path, member: str | None) -> Source:
    if not archive.is_file():
        raise _missing(archive)
    try:
        with zipfile.ZipFile(archive) as file:
            files = [info for info in file.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
            names = [info.filename for info in files]
            if "[Content_Types].xml" in names:
                raise DataError(f"{archive} is an Office document (Excel?); save its sheet as CSV.")
            if not names:
                raise DataError(f"{archive} is a zip archive with no file in it.")
            if member is None and len(names) > 1:
                shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
                example = next(
                    (name for name in names if FORMAT_OF_ENDING.get(PurePosixPath(name).suffix.lower())), names[0]
                )
                raise DataError(f"{archive} holds several files ({shown}); name one, such as {archive}::{example}.")
            chosen = names[0] if member is None else member
            if chosen not in names:
                raise DataError(f"{archive} holds no file {chosen!r}.{did_you_mean(chosen, names)}")
            data = file.read(chosen)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.") from error
    return Source(f"{archive}::{chosen}", data)


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def _missing(path: Path) -> DataError:
    if any(mark in str(path) for mark in "*?["):
        return DataError(f"No file matches {path}.")
    what, folder = "file", path.parent
    while not folder.exists():
        what, path, folder = "folder", folder, folder.parent
    there = _names(folder)
    hint = did_you_mean(path.name, there) if there else f" The folder {folder} is empty."
    return DataError(f"There is no {what} {path}.{hint}")


def _glob_in(folder: Path) -> str:
    endings = [name[name.index(".") :] for name in _names(folder) if "." in name.strip(".")]
    return str(folder / f"*{max(endings, key=endings.count) if endings else '.csv'}")


def _names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
