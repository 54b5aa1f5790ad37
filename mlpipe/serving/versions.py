"""From what a user writes to the folder of a bundle: a path, or a version in a registry.

    path/to/bundle
    models:/flights@champion     where an alias points to
    models:/flights/3            a number
    models:/flights              the champion if there is one, else the newest

The registry is the one that is named, else that of `MLPIPE_REGISTRY`, else MLflow's, where `mlpipe fit` tracks its runs
by default.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from mlpipe.bundle.folder import verify
from mlpipe.errors import ConfigError
from mlpipe.serving.folder_registry import FolderRegistry
from mlpipe.serving.mlflow_registry import MlflowRegistry
from mlpipe.serving.registry import CHAMPION, Registry, check_alias, check_name
from mlpipe.stores import default_uri

SCHEME = "models:/"
VARIABLE = "MLPIPE_REGISTRY"

_URI = re.compile(r"[a-z][a-z0-9+.-]+:/|databricks", re.IGNORECASE)
_REFERENCE = re.compile(r"(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<number>[1-9]\d{0,8}))?")


@dataclass(frozen=True)
class Reference:
    """A version in a registry: by its alias, by its number, or neither.

    Examples:
        >>> Reference.parse("models:/flights@champion")
        Reference(name='flights', alias='champion', number=None)
        >>> str(Reference("flights", number=3))
        'models:/flights/3'
        >>> Reference.parse("runs/first/bundle") is None
        True
    """

    name: str
    alias: str | None = None
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """The reference that a text is; None if it is a path.

        Raises:
            ConfigError: It begins like a reference and is none.
        """
        if not text.startswith("models:"):
            return None
        match = _REFERENCE.fullmatch(text.removeprefix(SCHEME)) if text.startswith(SCHEME) else None
        if match is None:
            raise ConfigError(
                f"{text!r} names no version; write models:/NAME, models:/NAME@ALIAS or models:/NAME/NUMBER."
            )
        number, alias = match["number"], match["alias"]
        check_name(match["name"])
        return cls(match["name"], alias and check_alias(alias), None if number is None else int(number))

    def __str__(self) -> str:
        end = f"@{self.alias}" if self.alias else f"/{self.number}" if self.number else ""
        return f"{SCHEME}{self.name}{end}"

    def find(self, registry: Registry) -> tuple[int, str | None]:
        """The number that is meant now, and the alias that led there. Cheap with an alias that is there.

        Raises:
            ConfigError: There is no such model, alias or number.
        """
        if self.number is not None:
            registry.check_number(self.name, self.number)
            return self.number, None
        alias = self.alias or CHAMPION
        number = registry.alias_number(self.name, alias)
        if number is not None:
            return number, alias
        if self.alias is not None:
            return registry.history(self.name, self.alias)[-1].number, alias  # which says what is missing
        return registry.numbers(self.name)[-1], None


@dataclass(frozen=True)
class Resolved:
    """A bundle that was found.

    Attributes:
        folder: On this machine, every file verified.
        version: The short hash that names the content.
        name: Of the model; None for a plain path, as the next two.
        number: Of the version.
        alias: That led to it.
    """

    folder: Path
    version: str
    name: str | None = None
    number: int | None = None
    alias: str | None = None
    _reference: Reference | None = field(default=None, repr=False, compare=False)
    _registry: Registry | None = field(default=None, repr=False, compare=False)

    def has_moved(self) -> bool:
        """Whether the reference would now lead to another number; cheap, for one who asks every few seconds.

        Raises:
            ConfigError: It leads nowhere now, or the registry does not answer.
        """
        if self._reference is None or self._registry is None:
            return False
        return self._reference.find(self._registry)[0] != self.number


def resolve(reference: str | Path, registry: Registry | None = None) -> Resolved:
    """Find a bundle, verify it, and bring it to this machine if it lies elsewhere.

    Args:
        reference: A path or a `models:/` reference.
        registry: Where to look; None: the default one, which is not opened for a path.

    Raises:
        ConfigError: The reference is none, or leads to nothing.
        BundleError: The bundle is missing or damaged.
    """
    parsed = Reference.parse(str(reference))
    if parsed is None:
        folder = Path(reference)
        return Resolved(folder, verify(folder).version)
    registry = registry or open_registry()
    number, alias = parsed.find(registry)
    folder = registry.folder(parsed.name, number)
    return Resolved(folder, verify(folder).version, parsed.name, number, alias, parsed, registry)


def open_registry(where: str | None = None) -> Registry:
    """The registry that is meant.

    Args:
        where: A folder, or the address of an MLflow store such as `sqlite:///runs/mlflow.db`. None: that of the
            environment variable `MLPIPE_REGISTRY`, else of `MLFLOW_TRACKING_URI`, else `runs/mlflow.db`.

    Raises:
        ConfigError: It is a kind of store that MLflow does not have any more.

    Examples:
        >>> open_registry("sqlite:///runs/mlflow.db").where, open_registry("shared/models").where
        ('MLflow at sqlite:///runs/mlflow.db', "'shared/models'")
    """
    where = where or os.environ.get(VARIABLE) or os.environ.get("MLFLOW_TRACKING_URI") or default_uri("runs")
    if where.startswith("file:"):
        raise ConfigError(f"{where!r} is an address of a folder; name the folder itself for a plain registry.")
    return MlflowRegistry(where) if _URI.match(where) else FolderRegistry(where)
