"""A bundle whose files are not exactly those that were written is refused, and the sentence says which and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlpipe.bundle.folder import is_bundle, read_manifest, verify
from mlpipe.bundle.manifest import MANIFEST, REQUIRED_FILES, FileEntry, Manifest, dump_json, parse_json
from mlpipe.errors import BundleError


def manifest_of(files: dict[str, bytes]) -> Manifest:
    return Manifest(
        mlpipe_version="0.1",
        created="2026-01-31T12:00:00+00:00",
        task={"kind": "binary", "target": ["y"], "classes": [0, 1]},
        model={"width": 8},
        input_spec={"numeric": [], "categorical": [], "num_outputs": 1},
        calibration={"temperature": 1.25, "threshold": 0.5, "interval": None},
        metrics={"test": {"auroc": 0.625}},
        read=None,
        files={name: FileEntry.of(content) for name, content in files.items()},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    files = {name: f"the content of {name}".encode() for name in REQUIRED_FILES}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / MANIFEST).write_text(manifest_of(files).to_json())
    return folder


def rewrite(folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    """What an attacker would do: change the manifest and compute its checksum anew."""
    manifest = Manifest.from_json(folder, (folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(change(manifest).to_json())


def test_an_untouched_bundle_is_accepted_and_reads_back_equal(folder: Path) -> None:
    manifest = verify(folder)
    assert manifest == manifest_of({name: (folder / name).read_bytes() for name in REQUIRED_FILES})
    assert len(manifest.version) == 12


def test_the_version_names_the_content_and_not_the_time(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert isinstance(manifest, Manifest)
    assert replace(manifest, created="2031-01-01T00:00:00+00:00").version == manifest.version
    assert replace(manifest, calibration={"temperature": 1.26}).version != manifest.version
    other = {**manifest.files, "schema.json": FileEntry.of(b"another")}
    assert replace(manifest, files=other).version != manifest.version


@pytest.mark.parametrize("name", [MANIFEST, *REQUIRED_FILES])
def test_any_flipped_bit_is_found(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    for position in range(0, len(content), max(1, len(content) // 60)):
        for bit in (0, 3, 5):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(BundleError, match=r"bundle\.json|" + name):
                verify(folder)
    path.write_bytes(content)
    verify(folder)


@pytest.mark.parametrize("name", [MANIFEST, *REQUIRED_FILES])
@pytest.mark.parametrize("left", [0, 7])
def test_a_file_cut_off_is_found(folder: Path, name: str, left: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:left])
    with pytest.raises(BundleError, match="is not JSON" if name == MANIFEST else f"{name} has {left} bytes"):
        verify(folder)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        verify(folder)


@pytest.mark.parametrize("name", [MANIFEST, *REQUIRED_FILES])
def test_links_are_not_followed(folder: Path, name: str) -> None:
    elsewhere = folder.parent / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(BundleError, match=f"{name} is not a regular file"):
        verify(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "schema.json").unlink()
    (folder / "schema.json").mkdir()
    with pytest.raises(BundleError, match=r"schema\.json is not a regular file"):
        verify(folder)


@pytest.mark.parametrize("name", ["model.pkl", "evil.py", "notes.txt", ".hidden", "more"])
def test_what_the_manifest_does_not_list_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(BundleError, match=f"{name} is not listed in {MANIFEST}"):
        verify(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../schema.json",
        "/etc/hosts.json",
        "sub/../x.json",
        "..",
        ".",
        "",
        "a\\b.json",
        "C:\\x.json",
        ".x.json",
        "a\n.json",
    ],
)
def test_paths_out_of_the_bundle_are_refused(folder: Path, name: str) -> None:
    (folder.parent / "schema.json").write_bytes(b"outside")
    rewrite(folder, lambda m: replace(m, files={**m.files, name: FileEntry.of(b"outside")}))
    with pytest.raises(BundleError, match="not a plain file name inside the bundle"):
        verify(folder)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.joblib", "code.py", "x.so", MANIFEST])
def test_file_types_that_carry_code_cannot_be_listed(folder: Path, name: str) -> None:
    if name != MANIFEST:
        (folder / name).write_bytes(b"x")
    rewrite(folder, lambda m: replace(m, files={**m.files, name: FileEntry.of(b"x")}))
    with pytest.raises(BundleError, match="a bundle holds only"):
        verify(folder)


def test_an_onnx_file_may_be_listed(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"x")
    rewrite(folder, lambda m: replace(m, files={**m.files, "model.onnx": FileEntry.of(b"x")}))
    assert "model.onnx" in verify(folder).files


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_file_left_out_of_the_list_is_named(folder: Path, name: str) -> None:
    rewrite(folder, lambda m: replace(m, files={k: v for k, v in m.files.items() if k != name}))
    with pytest.raises(BundleError, match=f"does not list '{name}'"):
        verify(folder)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 6, "4", None])
def test_an_unknown_format_version_is_named(folder: Path, version: object) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**values, "format_version": version}))
    with pytest.raises(BundleError, match=f"has format version {version!r}, but this mlpipe reads version 4 or 5"):
        verify(folder)


@pytest.mark.parametrize("entry", [FileEntry("zz", 3), FileEntry("0" * 64, -1)])
def test_an_entry_that_is_no_hash_and_size_is_refused(folder: Path, entry: FileEntry) -> None:
    rewrite(folder, lambda m: replace(m, files={**m.files, "schema.json": entry}))
    with pytest.raises(BundleError, match=r"no usable size and SHA-256 for 'schema\.json'"):
        verify(folder)


def test_a_value_changed_by_hand_is_found(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("2026-01-31", "2027-01-31"))
    with pytest.raises(BundleError, match=r"bundle\.json does not match its own checksum"):
        verify(folder)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle at"):
        read_manifest(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"is not a bundle: it has no bundle\.json\.$"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(BundleError, match="has no 'format_version'"):
        read_manifest(tmp_path)
    assert not is_bundle(tmp_path)


def test_a_run_directory_in_place_of_its_bundle_gets_a_hint(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle.*Did you mean .*bundle'\?$"):
        read_manifest(folder.parent)


def test_a_bundle_behind_a_link_to_its_folder_is_accepted(folder: Path) -> None:
    link = folder.parent / "current"
    link.symlink_to(folder)
    assert verify(link) == verify(folder)


@pytest.mark.parametrize("text", [b"{", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff", b"[" * 100_000])
def test_what_is_not_strict_json_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(BundleError, match=r"schema\.json is not JSON"):
        parse_json(tmp_path, "schema.json", text)


def test_floats_read_back_bit_for_bit_and_nan_is_not_written() -> None:
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0]
    assert [v.hex() for v in json.loads(dump_json(values))] == [v.hex() for v in values]
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(float("nan"))


@pytest.mark.parametrize("method", ["read_bytes", "lstat", "iterdir"])
def test_what_may_not_be_read_is_the_bundles_fault(folder: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(BundleError, match=r"cannot be read: Permission denied\.$"):
        verify(folder)
