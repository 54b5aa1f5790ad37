"""A store that is not to be trusted: what it may list and hand out, and what comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import MANIFEST, FileEntry
from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.download import cached, download_bundle


@dataclass
class Listed:
    """What a store says is there."""

    path: str
    is_dir: bool = False


@dataclass
class FakeStore:
    """A store that holds a bundle, and lists and gives what it is told to."""

    folder: Path
    also: list[Listed] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    link: bool = False

    def list_artifacts(self, run_id: str, path: str | None = None) -> Sequence[Listed]:
        inside = self.folder / str(path).removeprefix("bundle").removeprefix("/")
        entries = [Listed(f"{path}/{entry.name}", entry.is_dir()) for entry in sorted(inside.iterdir())]
        return [entry for entry in entries if entry.path not in self.without] + (self.also if path == "bundle" else [])

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        self.asked.append(path)
        target = Path(str(dst_path)) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.folder / path.removeprefix("bundle/")
        if self.link:
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)
        return str(target)


def download(store: FakeStore, out: Path) -> None:
    download_bundle(store, "run", "bundle", out, verify(store.folder).version)


def test_a_bundle_comes_whole(bundles: list[Path], tmp_path: Path) -> None:
    download(FakeStore(bundles[0]), tmp_path / "out")
    assert verify(tmp_path / "out").version == verify(bundles[0]).version
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "entry",
    [
        Listed("bundle/../../evil"),
        Listed("bundle/.."),
        Listed("/etc/passwd"),
        Listed("../bundle/x.json"),
        Listed("bundle//etc/passwd"),
        Listed("bundle/sub/x.json"),
        Listed("bundle/..%2f..%2fevil"),
        Listed("bundle/a\\b"),
        Listed("bundle/.hidden"),
        Listed("elsewhere.json"),
        Listed("bundle/code", is_dir=True),
        Listed("bundle/..", is_dir=True),
    ],
)
def test_names_that_lead_elsewhere_are_refused_before_anything_is_fetched(
    entry: Listed, bundles: list[Path], tmp_path: Path
) -> None:
    store = FakeStore(bundles[0], also=[entry])
    with pytest.raises(BundleError, match="The store lists"):
        download(store, tmp_path / "out")
    assert store.asked == []
    assert list(tmp_path.iterdir()) == []


def test_what_the_manifest_does_not_list_is_not_fetched(bundles: list[Path], tmp_path: Path) -> None:
    store = FakeStore(bundles[0], also=[Listed("bundle/extra.json")])
    download(store, tmp_path / "out")
    assert "bundle/extra.json" not in store.asked


@pytest.mark.parametrize("name", [MANIFEST, "weights.safetensors"])
def test_a_file_that_is_missing_is_named(name: str, bundles: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"has no '{name}'"):
        download(FakeStore(bundles[0], without={f"bundle/{name}"}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(bundles: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="links are not followed"):
        download(FakeStore(bundles[0], link=True), tmp_path / "out")


def test_a_damaged_bundle_never_appears(bundles: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles[0], damaged)
    (damaged / "schema.json").write_bytes((bundles[0] / "schema.json").read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"schema\.json does not match its SHA-256"):
        download_bundle(FakeStore(damaged), "run", "bundle", tmp_path / "out", verify(bundles[0]).version)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def digest(bundle: Path) -> str:
    return FileEntry.of((bundle / MANIFEST).read_bytes()).sha256


def test_a_bundle_is_downloaded_once_and_again_if_it_was_damaged(bundles: list[Path], tmp_path: Path) -> None:
    store = FakeStore(bundles[0])
    cache = tmp_path / "cache"
    folder = cached(cache, digest(bundles[0]), lambda out: download(store, out))
    fetched = len(store.asked)
    assert cached(cache, digest(bundles[0]), lambda out: download(store, out)) == folder
    assert len(store.asked) == fetched
    (folder / "schema.json").write_text("{}")
    cached(cache, digest(bundles[0]), lambda out: download(store, out))
    assert len(store.asked) == 2 * fetched
    verify(folder)


def test_another_manifest_than_the_one_that_was_registered_is_refused(bundles: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(BundleError, match=r"The bundle\.json that was downloaded is not the one that was registered"):
        cached(cache, digest(bundles[1]), lambda out: download(FakeStore(bundles[0]), out))
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"The cache '.*file/cache' cannot be written to \(Not a directory\)"):
        cached(tmp_path / "file" / "cache", "0" * 64, lambda out: None)
