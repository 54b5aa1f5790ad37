"""A registry in a plain folder, which may lie on a shared disk.

    flights/1/ flights/2/ …   bundles
    flights/aliases.json      where each alias stands, and where it has stood
    flights/.lock             held by the one process that changes something

- A version appears by the rename of a complete, verified copy; a copy that was cut short has a name that begins with a
  dot, is never read, and is swept up by the next registration.
- `aliases.json` is replaced by a rename too: a reader sees the old state or the new one.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpipe.bundle.copying import copy_bundle
from mlpipe.bundle.folder import read_manifest, verify
from mlpipe.bundle.manifest import AnyManifest
from mlpipe.errors import BundleError, ConfigError
from mlpipe.files import write_whole
from mlpipe.serving.registry import History, Registry, Stand, Version, check_alias, check_name, is_name

_NUMBER = re.compile(r"[1-9]\d{0,8}")
_ALIASES, _LOCK = "aliases.json", ".lock"
_FORMAT_VERSION = 1


class FolderRegistry(Registry):
    """A registry in a folder.

    Args:
        root: The folder; the first registration makes it.

    Examples:
        >>> FolderRegistry("models").where
        "'models'"
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.where = repr(str(root))

    def names(self) -> list[str]:
        """The names of all models, sorted.

        Raises:
            ConfigError: There is a file at the folder's path.
        """
        if not self.root.is_dir():
            if self.root.exists():
                raise ConfigError(f"{self.where} is a file and not the folder of a registry.")
            return []
        return sorted(path.name for path in self.root.iterdir() if is_name(path.name) and _numbers(path))

    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of a model points to."""
        self.numbers(name)  # refuses a name that is none
        return {alias: history[-1].number for alias, history in self._histories(name).items()}

    def alias_number(self, name: str, alias: str) -> int | None:
        """The number that an alias points to, or None: reads one small file."""
        history = self._history(check_name(name), check_alias(alias))
        return history[-1].number if history else None

    def folder(self, name: str, number: int) -> Path:
        """The version's folder, every file verified."""
        folder = self.root / check_name(name) / str(number)
        if not folder.is_dir():
            self.check_number(name, number)
        verify(folder)
        return folder

    def _numbers(self, name: str) -> list[int]:
        return _numbers(self.root / check_name(name))

    def _versions(self, name: str) -> list[Version]:
        aliases = {alias: history[-1].number for alias, history in self._histories(check_name(name)).items()}
        return [
            self._version(name, number, tuple(sorted(alias for alias, at in aliases.items() if at == number)))
            for number in self._numbers(name)
        ]

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        folder = self.root / check_name(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open("w")
        except OSError as error:
            raise ConfigError(f"The registry {self.where} cannot be written to ({error.strerror}).") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, or the process has ended
            yield

    def _add(self, bundle: Path, manifest: AnyManifest, name: str) -> int:
        folder = self.root / name
        for leftover in folder.glob(".*.new"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        number = max(_numbers(folder), default=0) + 1
        copy_bundle(bundle, folder / str(number), manifest.version)
        return number

    def _version(self, name: str, number: int, aliases: tuple[str, ...]) -> Version:
        try:
            manifest = read_manifest(self.root / name / str(number))
        except BundleError as error:
            return Version(name, number, "", "", "", {}, aliases, str(error))
        return Version.of(name, number, manifest, aliases)

    def _history(self, name: str, alias: str) -> History:
        return self._histories(name).get(alias, ())

    def _move(self, name: str, alias: str, history: History, *, back: bool) -> None:
        aliases = self._histories(name) | {alias: history}
        record = {
            "format_version": _FORMAT_VERSION,
            "aliases": {
                word: [{"number": stand.number, "since": stand.since} for stand in stands]
                for word, stands in sorted(aliases.items())
            },
        }
        write_whole(self.root / name / _ALIASES, (json.dumps(record, indent=1) + "\n").encode())

    def _histories(self, name: str) -> dict[str, History]:
        path = self.root / name / _ALIASES
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BundleError(f"{str(path)!r} cannot be read ({error}).") from error
        try:
            if record["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"format version {record['format_version']!r}")
            histories = {
                alias: tuple(Stand(int(stand["number"]), str(stand["since"])) for stand in stands)
                for alias, stands in record["aliases"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{str(path)!r} is not as mlpipe writes it ({error}).") from error
        return {alias: history for alias, history in histories.items() if history}


def _numbers(folder: Path) -> list[int]:
    """Of everything that looks like a version, damaged or not: a number is never given twice."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir())
