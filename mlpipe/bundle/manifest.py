"""`bundle.json`: what a bundle is made of, and what makes sure that it is still the same.

Standard library only, so that a server can refuse a damaged bundle before it loads torch.

- There are two kinds: a bundle of one model (format version 4), and an ensemble (format version 5), whose members are
  bundles of one model. Those of versions 1 to 3 knew less and are refused.
- File types that can carry code (pickle, shared objects, Python) cannot even be listed.
- `version` names the content: the same model exported twice has the same version, whatever the clock says.
- `checksum` covers `bundle.json` itself, which no other file could vouch for. It finds damage, not an attacker who
  can write to the folder and recompute it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from mlpipe.errors import BundleError, MlpipeError
from mlpipe.schema import reject_unknown_keys

MANIFEST = "bundle.json"
SCHEMA, PREPROCESS, WEIGHTS = "schema.json", "preprocess.json", "weights.safetensors"
STATISTICS, MODEL_CARD, SAMPLE_REQUEST = "statistics.json", "model_card.md", "sample_request.json"
REQUIRED_FILES = (SCHEMA, PREPROCESS, WEIGHTS, STATISTICS, MODEL_CARD, SAMPLE_REQUEST)
#: Files that a bundle may have too: the network as a graph, by the backend that runs it.
GRAPHS = {"onnx": "model.onnx", "int8": "model.int8.onnx"}
#: What `--backend` can be; `mlpipe.bundle.backends` says what they are.
BACKENDS = ("auto", "torch", *GRAPHS)
#: Folder of an ensemble's members, which are called 0, 1, …
MEMBERS = "members"

_SUFFIXES = (".json", ".md", ".safetensors", ".onnx")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION_LENGTH = 12


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The entry of a file with this content."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class Member:
    """One bundle of an ensemble: its version, and SHA-256 and size of its `bundle.json`."""

    version: str
    sha256: str
    size: int


@dataclass(frozen=True)
class AnyManifest:
    """What the manifests of both kinds hold.

    Attributes:
        mlpipe_version: The mlpipe that wrote the bundle.
        created: When, ISO 8601 in UTC; not part of `version`.
        task: `Task.to_dict()`.
        metrics: What the model reached, by part of the data.
        read: The options that the training file was read with, used for files to be scored; None: the defaults.
        files: Every file beside the manifest, by name.
    """

    format_version: ClassVar[int]
    required_files: ClassVar[tuple[str, ...]]

    mlpipe_version: str
    created: str
    task: dict[str, Any]
    metrics: dict[str, Any]
    read: dict[str, Any] | None
    files: dict[str, FileEntry]

    @property
    def version(self) -> str:
        """A short hash of everything but `created`: equal versions give equal predictions."""
        return _digest({"format_version": self.format_version, **self._content()})[:_VERSION_LENGTH]

    def to_json(self) -> str:
        """The text of `bundle.json`.

        Raises:
            ValueError: A metric or an option is NaN or infinite, which JSON cannot hold.
        """
        values = {"format_version": self.format_version, "version": self.version, **asdict(self)}
        return dump_json({**values, "checksum": _digest(values)})

    @classmethod
    def from_json(cls, folder: Path, text: bytes) -> Self:
        """Read `bundle.json` of `folder`, and refuse it if it is damaged, unknown or lists what it must not.

        Raises:
            BundleError: Says what is wrong.
        """
        values = parse_json(folder, MANIFEST, text)
        if not isinstance(values, dict) or "format_version" not in values:
            refuse(folder, MANIFEST, "has no 'format_version', so it was not written by mlpipe")
        found, kinds = values["format_version"], cls.__subclasses__() or [cls]
        kind = next((kind for kind in kinds if kind.format_version == found), None)
        if kind is None:
            known = " or ".join(str(version) for version in sorted(kind.format_version for kind in kinds))
            refuse(folder, MANIFEST, f"has format version {found!r}, but this mlpipe reads version {known}")
        checksum = values.pop("checksum", None)
        if checksum != _digest(values):
            refuse(folder, MANIFEST, "does not match its own checksum: it was changed after it was written")
        version = values.pop("version", None)
        del values["format_version"]
        missing = [field.name for field in fields(kind) if field.name not in values]
        if missing:
            refuse(folder, MANIFEST, f"has no {missing[0]!r}")
        try:
            reject_unknown_keys(values, kind, MANIFEST)
            manifest = kind(**kind._read(values))
        except (MlpipeError, TypeError, AttributeError) as error:
            refuse(folder, MANIFEST, f"is not as mlpipe writes it ({error})")
        manifest._check(folder)
        if version != manifest.version:
            refuse(folder, MANIFEST, f"says version {version!r}, but its content is version {manifest.version!r}")
        return manifest

    def _content(self) -> dict[str, Any]:
        """What the version is a hash of."""
        return {key: value for key, value in asdict(self).items() if key != "created"}

    @classmethod
    def _read(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The fields from their JSON values."""
        return {**values, "files": {name: FileEntry(**entry) for name, entry in values["files"].items()}}

    def _check(self, folder: Path) -> None:
        """What must hold before any file is opened."""
        for name in self.required_files:
            if name not in self.files:
                refuse(folder, MANIFEST, f"does not list {name!r}, without which a bundle cannot predict")
        for name, entry in self.files.items():
            if not _PLAIN_NAME.fullmatch(name):
                refuse(folder, MANIFEST, f"lists {name!r}, which is not a plain file name inside the bundle")
            if not name.endswith(_SUFFIXES) or name == MANIFEST:
                refuse(folder, MANIFEST, f"lists {name!r}; a bundle holds only {', '.join(_SUFFIXES)} files")
            if not _is_usable(entry):
                refuse(folder, MANIFEST, f"gives no usable size and SHA-256 for {name!r}")


@dataclass(frozen=True)
class Manifest(AnyManifest):
    """The `bundle.json` of one model.

    Attributes:
        model: The model config as a dict.
        input_spec: `InputSpec.to_dict()`; with `model` it fixes the shape of every weight.
        calibration: `Calibration.to_dict()`: what makes answers of the network's outputs.
    """

    format_version = 4
    required_files = REQUIRED_FILES

    model: dict[str, Any]
    input_spec: dict[str, Any]
    calibration: dict[str, Any]


@dataclass(frozen=True)
class EnsembleManifest(AnyManifest):
    """The `bundle.json` of several models whose predictions are averaged.

    Attributes:
        members: The bundles in the folder `members`, in order.
    """

    format_version = 5
    required_files = (SCHEMA, STATISTICS, MODEL_CARD, SAMPLE_REQUEST)

    members: tuple[Member, ...]

    def _content(self) -> dict[str, Any]:
        # By their versions: the hash of a member's manifest depends on the clock.
        return {**super()._content(), "members": [member.version for member in self.members]}

    @classmethod
    def _read(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**super()._read(values), "members": tuple(Member(**member) for member in values["members"])}

    def _check(self, folder: Path) -> None:
        super()._check(folder)
        if not self.members:
            refuse(folder, MANIFEST, "lists no members")
        for index, member in enumerate(self.members):
            if not _is_usable(member):
                refuse(folder, MANIFEST, f"gives no usable size and SHA-256 for the member {index}")


def parse_json(folder: Path, name: str, text: bytes) -> Any:
    """Strict JSON: no NaN, no infinity.

    Raises:
        BundleError: It is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(folder, name, f"is not JSON ({error})")


def dump_json(values: Any) -> str:
    """JSON as every file of a bundle is written: floats read back bit for bit, NaN refused, order kept."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def refuse(folder: Path, name: str, why: str) -> NoReturn:
    """Raise the one kind of sentence a bad bundle ends in.

    Raises:
        BundleError: Always.
    """
    raise BundleError(f"Bundle {str(folder)!r}: {name} {why}.")


def _is_usable(entry: FileEntry | Member) -> bool:
    size: Any = entry.size
    return isinstance(size, int) and size >= 0 and bool(_SHA256.fullmatch(str(entry.sha256)))


def _digest(values: Mapping[str, Any]) -> str:
    canonical = json.dumps(values, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
