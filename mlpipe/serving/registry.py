"""What a registry of models is: numbered versions under a name, and words (aliases) that point to one of them.

A version is a bundle and never changes. An alias, such as `champion`, is what moves: it is promoted to a version and
rolled back to those it stood at before, one at a time. All registries behave alike; what they differ in is where things
lie (`mlpipe.serving.folder_registry`, `mlpipe.serving.mlflow_registry`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Self

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import AnyManifest
from mlpipe.errors import ConfigError, did_you_mean

CHAMPION, CHALLENGER = "champion", "challenger"

#: How many stands of an alias are remembered.
MAX_HISTORY = 100

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: `latest`, `v1`, … mean something else to MLflow.
_ALIAS = re.compile(r"(?!latest$|v\d+$)[a-z][a-z0-9_-]{0,99}", re.IGNORECASE)


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        name: Of the model.
        number: From 1, in the order of registration.
        version: The short hash that names the bundle's content.
        created: When the bundle was written, ISO 8601 in UTC.
        task: The kind of task.
        metrics: What the bundle says that the model reached.
        aliases: The words that point to it, sorted.
        fault: What is wrong with the bundle, if its manifest cannot be read; `version`, `created`, `task` and `metrics`
            are empty then.
    """

    name: str
    number: int
    version: str
    created: str
    task: str
    metrics: dict[str, Any]
    aliases: tuple[str, ...] = ()
    fault: str | None = None

    @classmethod
    def of(cls, name: str, number: int, manifest: AnyManifest, aliases: tuple[str, ...] = ()) -> Self:
        """The version whose bundle has this manifest."""
        return cls(name, number, manifest.version, manifest.created, manifest.task["kind"], manifest.metrics, aliases)


@dataclass(frozen=True)
class Stand:
    """Where an alias stood: the number, and since when (ISO 8601 in UTC, empty if others than mlpipe moved it)."""

    number: int
    since: str = ""

    @classmethod
    def now(cls, number: int) -> Self:
        """A stand that begins."""
        return cls(number, datetime.now(UTC).isoformat(timespec="seconds"))


#: Where an alias has stood, the present stand last; empty: there is no such alias.
History = tuple[Stand, ...]


class Registry(ABC):
    """Versions of bundles under names, and their aliases.

    Registering and moving aliases is done by one process at a time; reading needs no lock and sees whole states only.

    Attributes:
        where: The folder or address, as sentences name it.
    """

    where: str

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all models, sorted."""

    @abstractmethod
    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of a model points to.

        Raises:
            ConfigError: There is no model of this name.
        """

    @abstractmethod
    def alias_number(self, name: str, alias: str) -> int | None:
        """The number that an alias points to, or None. Cheap: a server may ask every few seconds.

        Raises:
            ConfigError: The name or the alias is none.
        """

    @abstractmethod
    def folder(self, name: str, number: int) -> Path:
        """The folder of a version's bundle on this machine, every file verified.

        Raises:
            ConfigError: There is no such version.
            BundleError: It is damaged.
        """

    @abstractmethod
    def _numbers(self, name: str) -> list[int]:
        """The numbers of all versions of a model, ascending; empty if there is no such model."""

    @abstractmethod
    def _versions(self, name: str) -> list[Version]:
        """All versions of a model, in order; empty if there is no such model."""

    @abstractmethod
    def _lock(self, name: str) -> AbstractContextManager[None]:
        """Keep all others from changing anything of a model."""

    @abstractmethod
    def _add(self, bundle: Path, manifest: AnyManifest, name: str) -> int:
        """Store a bundle under the next number, whole or not at all; the lock is held."""

    @abstractmethod
    def _history(self, name: str, alias: str) -> History:
        """Where an alias has stood."""

    @abstractmethod
    def _move(self, name: str, alias: str, history: History, *, back: bool) -> None:
        """Let an alias have this history, at whose end it then points; the lock is held."""

    def numbers(self, name: str) -> list[int]:
        """The numbers of all versions of a model, ascending; never empty.

        Raises:
            ConfigError: There is no model of this name.
        """
        return self._numbers(name) or self._refuse_name(name)

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, in order; one that is damaged has a `fault`.

        Raises:
            ConfigError: There is no model of this name.
        """
        return self._versions(name) or self._refuse_name(name)

    def history(self, name: str, alias: str) -> History:
        """Where an alias has stood, the present stand last.

        Raises:
            ConfigError: There is no such model or alias.
        """
        known = self.aliases(name)
        if alias not in known:
            hint = did_you_mean(alias, known) or " `mlpipe models promote` makes one."
            raise ConfigError(f"{name!r} in {self.where} has no alias {alias!r}.{hint}")
        return self._history(name, alias)

    def register(self, bundle: Path, name: str, alias: str | None = None) -> Version:
        """Make a bundle the next version of a model.

        Args:
            bundle: Its folder, which is copied.
            name: Of the model; one that is not there yet begins with number 1.
            alias: Let this alias point to it.

        Raises:
            BundleError: The bundle is missing or damaged.
            ConfigError: The model has this content already, or a name is none.
        """
        check_name(name)
        if alias is not None:
            check_alias(alias)
        manifest = verify(bundle)
        with self._lock(name):
            for version in self._versions(name):
                if version.version == manifest.version:
                    raise ConfigError(
                        f"{str(bundle)!r} has the content of version {version.number} of {name!r}, "
                        f"{manifest.version}, so it is not registered again."
                    )
            number = self._add(bundle, manifest, name)
            if alias is not None:
                self._move(name, alias, _moved(self._history(name, alias), number), back=False)
        return Version.of(name, number, manifest, () if alias is None else (alias,))

    def promote(self, name: str, number: int, alias: str = CHAMPION) -> int | None:
        """Let an alias point to a version.

        Returns:
            The number it pointed to before, which may be the same, or None.

        Raises:
            ConfigError: There is no such model or number, or the alias is none.
        """
        check_alias(alias)
        self.check_number(name, number)  # before a lock's file is made where nothing is
        with self._lock(name):
            history = self._history(name, alias)
            self._move(name, alias, _moved(history, number), back=False)
        return history[-1].number if history else None

    def rollback(self, name: str, alias: str = CHAMPION) -> tuple[int, int]:
        """Let an alias point to the number it pointed to before; again: to the one before that.

        Returns:
            The number that is left, and the one that is pointed to now.

        Raises:
            ConfigError: There is no such model or alias, or nothing is known of an earlier number.
        """
        self.history(name, alias)
        with self._lock(name):
            history, there = self.history(name, alias), self.numbers(name)
            earlier = tuple(stand for stand in history[:-1] if stand.number in there)
            if not earlier:
                raise ConfigError(
                    f"{alias!r} of {name!r} has pointed to version {history[-1].number} alone, so there is nothing "
                    "to go back to."
                )
            self._move(name, alias, earlier, back=True)
        return history[-1].number, earlier[-1].number

    def check_number(self, name: str, number: int) -> None:
        """Refuse a version that isn't there.

        Raises:
            ConfigError: It isn't, or there is no model of this name.
        """
        numbers = self.numbers(name)
        if number not in numbers:
            known = f"it has {numbers[0]}" if len(numbers) == 1 else f"it has {numbers[0]} to {numbers[-1]}"
            raise ConfigError(f"{name!r} in {self.where} has no version {number}; {known}.")

    def _refuse_name(self, name: str) -> NoReturn:
        hint = did_you_mean(name, self.names()) or " `mlpipe models register` brings the first one."
        raise ConfigError(f"There is no model {name!r} in {self.where}.{hint}")


def is_name(name: str) -> bool:
    """Whether a model can have this name."""
    return bool(_NAME.fullmatch(name))


def check_name(name: str) -> str:
    """A model's name, which is a folder's too.

    Raises:
        ConfigError: It is none.

    Examples:
        >>> check_name("flights-2013")
        'flights-2013'
    """
    if not is_name(name):
        raise ConfigError(
            f"{name!r} is no name of a model; it has to begin with a letter or digit and may have dots, underscores "
            "and dashes, but no others."
        )
    return name


def check_alias(alias: str) -> str:
    """An alias.

    Raises:
        ConfigError: It is none.

    Examples:
        >>> check_alias("champion")
        'champion'
    """
    if not _ALIAS.fullmatch(alias):
        raise ConfigError(
            f"{alias!r} is no alias; it has to begin with a letter and may have digits, underscores and dashes, and "
            "`latest`, `v1`, `v2`, … mean something else."
        )
    return alias


def _moved(history: History, number: int) -> History:
    """The history once the alias stands at a number; unchanged if it stands there already."""
    if history and history[-1].number == number:
        return history
    return (*history, Stand.now(number))[-MAX_HISTORY:]
