"""`bundle.json`: what a bundle is made of, and the check that the files are still the ones that were written.

Standard library only, so that a server can refuse a damaged bundle before it loads torch.

- Every file is read once: the bytes that were hashed are the bytes that are used.
- A folder holds what its manifest lists and nothing else: no links, no sub-folders, no file one could be talked
  into loading. File types that can carry code (pickle, shared objects, Python) cannot even be listed.
- `version` names the content: the same model exported twice has the same version, whatever the clock says.
- `checksum` covers `bundle.json` itself, which no other file could vouch for. It finds damage, not an attacker who
  can write to the folder and recompute it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, Self

from mlpipe.errors import BundleError, MlpipeError
from mlpipe.schema import reject_unknown_keys

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
SCHEMA, PREPROCESS, WEIGHTS = "schema.json", "preprocess.json", "weights.safetensors"
MODEL_CARD, SAMPLE_REQUEST = "model_card.md", "sample_request.json"
REQUIRED_FILES = (SCHEMA, PREPROCESS, WEIGHTS, MODEL_CARD, SAMPLE_REQUEST)

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
class Manifest:
    """The content of `bundle.json`.

    Attributes:
        mlpipe_version: The mlpipe that wrote the bundle.
        created: When, ISO 8601 in UTC; not part of `version`.
        task: `Task.to_dict()`.
        model: The model config as a dict.
        input_spec: `InputSpec.to_dict()`; with `model` it fixes the shape of every weight.
        temperature: The logits are divided by it before they become probabilities.
        metrics: What the model reached, by part of the data.
        read: The options that the training file was read with, used for files to be scored; None: the defaults.
        files: Every file beside the manifest, by name.
    """

    mlpipe_version: str
    created: str
    task: dict[str, Any]
    model: dict[str, Any]
    input_spec: dict[str, Any]
    temperature: float
    metrics: dict[str, Any]
    read: dict[str, Any] | None
    files: dict[str, FileEntry]

    @property
    def version(self) -> str:
        """A short hash of everything but `created`: equal versions give equal predictions."""
        content = {key: value for key, value in asdict(self).items() if key != "created"}
        return _digest({"format_version": FORMAT_VERSION, **content})[:_VERSION_LENGTH]

    def to_json(self) -> str:
        """The text of `bundle.json`.

        Raises:
            ValueError: A metric or an option is NaN or infinite, which JSON cannot hold.
        """
        values = {"format_version": FORMAT_VERSION, "version": self.version, **asdict(self)}
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
        if values["format_version"] != FORMAT_VERSION:
            found, known = values["format_version"], FORMAT_VERSION
            refuse(folder, MANIFEST, f"has format version {found!r}, but this mlpipe reads version {known}")
        checksum = values.pop("checksum", None)
        if checksum != _digest(values):
            refuse(folder, MANIFEST, "does not match its own checksum: it was changed after it was written")
        version = values.pop("version", None)
        del values["format_version"]
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            refuse(folder, MANIFEST, f"has no {missing[0]!r}")
        try:
            reject_unknown_keys(values, cls, MANIFEST)
            entries = {name: FileEntry(**entry) for name, entry in values["files"].items()}
        except (MlpipeError, TypeError, AttributeError) as error:
            refuse(folder, MANIFEST, f"is not as mlpipe writes it ({error})")
        manifest = cls(**{**values, "files": entries})
        manifest._check(folder)
        if version != manifest.version:
            refuse(folder, MANIFEST, f"says version {version!r}, but its content is version {manifest.version!r}")
        return manifest

    def _check(self, folder: Path) -> None:
        """What must hold before any file is opened."""
        for name in REQUIRED_FILES:
            if name not in self.files:
                refuse(folder, MANIFEST, f"does not list {name!r}, without which a bundle cannot predict")
        for name, entry in self.files.items():
            if not _PLAIN_NAME.fullmatch(name):
                refuse(folder, MANIFEST, f"lists {name!r}, which is not a plain file name inside the bundle")
            if not name.endswith(_SUFFIXES) or name == MANIFEST:
                refuse(folder, MANIFEST, f"lists {name!r}; a bundle holds only {', '.join(_SUFFIXES)} files")
            size: Any = entry.size
            if not (isinstance(size, int) and size >= 0 and _SHA256.fullmatch(str(entry.sha256))):
                refuse(folder, MANIFEST, f"gives no usable size and SHA-256 for {name!r}")
        temperature: Any = self.temperature
        if not isinstance(temperature, int | float) or not (math.isfinite(temperature) and temperature > 0):
            refuse(folder, MANIFEST, f"has temperature {temperature!r}, which is not a positive number")


def is_bundle(folder: Path) -> bool:
    """Whether the folder looks like a bundle, damaged or not: it has a `bundle.json` with a format version."""
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "format_version" in values


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle, once the folder is seen to hold what it lists and nothing else.

    Raises:
        BundleError: There is no bundle, or its manifest or its list of files is wrong.
    """
    if not folder.is_dir():
        raise BundleError(f"There is no bundle at {str(folder)!r}.")
    if not (folder / MANIFEST).exists():
        inner = f" Did you mean {str(folder / 'bundle')!r}?" if (folder / "bundle" / MANIFEST).exists() else ""
        raise BundleError(f"{str(folder)!r} is not a bundle: it has no {MANIFEST}.{inner}")
    _check_regular(folder, MANIFEST)
    manifest = Manifest.from_json(folder, (folder / MANIFEST).read_bytes())
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST and path.name not in manifest.files:
            refuse(folder, path.name, f"is not listed in {MANIFEST}; a bundle holds nothing but its own files")
    return manifest


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The content of a listed file, once its size and SHA-256 are seen to be those of the manifest.

    Raises:
        BundleError: The file is missing, a link, cut off or changed.
    """
    entry = manifest.files[name]
    size = _check_regular(folder, name)
    if size != entry.size:
        refuse(folder, name, f"has {size} bytes, but {MANIFEST} says {entry.size}: it is incomplete or was changed")
    content = (folder / name).read_bytes()
    if FileEntry.of(content) != entry:
        refuse(folder, name, f"does not match its SHA-256 in {MANIFEST}: it was damaged or changed")
    return content


def verify(folder: Path) -> Manifest:
    """Check every file of a bundle without loading the model.

    Raises:
        BundleError: Names the file and says what is wrong with it.
    """
    manifest = read_manifest(folder)
    for name in manifest.files:
        read_file(folder, manifest, name)
    return manifest


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


def _check_regular(folder: Path, name: str) -> int:
    try:
        status = (folder / name).lstat()
    except FileNotFoundError:
        refuse(folder, name, f"is missing, though {MANIFEST} lists it")
    if not stat.S_ISREG(status.st_mode):
        refuse(folder, name, "is not a regular file; links and folders are not followed")
    return status.st_size


def _digest(values: Mapping[str, Any]) -> str:
    canonical = json.dumps(values, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
