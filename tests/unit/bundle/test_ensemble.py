"""An ensemble predicts the mean of its members, and is refused where any byte of it is not what was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpipe.bundle.ensemble import EnsembleContents, read_contents, write_ensemble
from mlpipe.bundle.folder import verify
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.manifest import MANIFEST, MEMBERS, REQUIRED_FILES, EnsembleManifest, FileEntry, Member
from mlpipe.bundle.predictor import EnsemblePredictor, Predictor
from mlpipe.bundle.staging import check_free
from mlpipe.errors import BundleError, InputError
from mlpipe.features.calibration import Calibration
from mlpipe.schema import TaskKind

Fit = Callable[..., Any]
SEEDS = (0, 1, 2)


def write(fitted: Fit, folder: Path, kind: TaskKind = TaskKind.BINARY, seeds: tuple[int, ...] = SEEDS) -> Path:
    """An ensemble at `folder/ensemble` of the bundles `folder/0`, …"""
    members = [fitted(kind, seed).write(folder / str(seed), calibration=Calibration(1.0 + seed)) for seed in seeds]
    contents = [read_bundle(member) for member in members]
    metrics = {"mean": {"auroc": 0.75}, "std": {"auroc": float("nan")}}
    described: dict[str, Any] = {"statistics": contents[-1].statistics, "metrics": metrics, "model_card": "# Three\n"}
    return write_ensemble(folder / "ensemble", contents, **described)


@pytest.fixture
def ensemble(fitted: Fit, tmp_path: Path) -> Path:
    return write(fitted, tmp_path)


def numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that are averaged."""
    columns = [name for name in frame.columns if name.startswith("probability_")]
    return frame.select(columns or "prediction")


@pytest.mark.parametrize("kind", list(TaskKind))
def test_it_predicts_the_mean_of_its_members(fitted: Fit, kind: TaskKind, tmp_path: Path) -> None:
    ensemble, rows = write(fitted, tmp_path, kind), fitted(kind, 7).frame
    predicted = Predictor.load(ensemble).predict(rows)
    members = [Predictor.load(tmp_path / str(seed)).predict(rows) for seed in SEEDS]
    assert predicted.schema == members[0].schema
    assert not members[0].equals(members[1])
    values = [numbers(member).to_numpy().astype(np.float64) for member in members]
    np.testing.assert_allclose(numbers(predicted).to_numpy(), np.mean(values, axis=0), rtol=1e-12, atol=1e-6)
    if kind in (TaskKind.BINARY, TaskKind.MULTICLASS):
        best = numbers(predicted).to_numpy().argmax(axis=1)
        assert predicted["prediction"].to_list() == [fitted(kind).schema.task.classes[i] for i in best]
        np.testing.assert_allclose(predicted["confidence"], numbers(predicted).to_numpy().max(axis=1))
    if kind is TaskKind.MULTILABEL:
        chosen = numbers(predicted).to_numpy() > 0.5
        assert predicted["prediction"].list.len().to_list() == chosen.sum(axis=1).tolist()


def test_every_way_of_predicting_gives_the_same(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    predictor, frame = Predictor.load(ensemble), fitted(TaskKind.BINARY, 7).frame
    expected = predictor.predict(frame)
    assert_frame_equal(predictor.predict(frame, batch_size=37), expected, abs_tol=1e-6)
    assert_frame_equal(predictor.predict(frame.head(5).to_dicts()), expected.head(5), abs_tol=1e-6)
    assert predictor.predict([]).schema == expected.schema
    frame.write_parquet(tmp_path / "rows.parquet")
    assert predictor.predict_file(tmp_path / "rows.parquet", tmp_path / "out.parquet") == frame.height
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet").drop("order id"), expected, abs_tol=1e-6)


def test_a_member_without_a_finite_answer_is_not_averaged_away(fitted: Fit, ensemble: Path) -> None:
    predictor = Predictor.load(ensemble)
    assert isinstance(predictor, EnsemblePredictor)
    calls = []

    def run(network: Callable[[], Any]) -> Any:
        outputs = network()
        calls.append(1)
        if len(calls) == 2:
            outputs[3] = np.inf
        return outputs

    with pytest.raises(InputError, match="no finite answer") as caught:
        predictor.predict_with(run, fitted(TaskKind.BINARY).frame.head(6), batch_size=10)
    assert caught.value.row == 3
    assert len(calls) == 3


def test_an_infinite_number_is_not_made_a_large_one(fitted: Fit, tmp_path: Path) -> None:
    predictor = Predictor.load(fitted(TaskKind.REGRESSION).write(tmp_path / "bundle"))
    with pytest.raises(InputError, match="no finite answer"):
        predictor.predict_with(lambda network: network() + np.float32(np.inf), fitted(TaskKind.REGRESSION).frame, 500)


def test_what_is_written_reads_back(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    contents = read_contents(ensemble)
    assert isinstance(contents, EnsembleContents)
    assert contents.schema == fitted(TaskKind.BINARY).schema
    assert contents.sample_request == read_bundle(tmp_path / "0").sample_request
    assert [member.calibration.temperature for member in contents.members] == [1.0, 2.0, 3.0]
    assert contents.manifest.metrics == {"mean": {"auroc": 0.75}, "std": {"auroc": None}}
    assert contents.version == verify(ensemble).version == Predictor.load(ensemble).version
    assert [m.version for m in contents.manifest.members] == [verify(tmp_path / str(seed)).version for seed in SEEDS]


def test_each_member_is_a_bundle_by_itself(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    frame = fitted(TaskKind.BINARY, 7).frame
    alone = Predictor.load(ensemble / MEMBERS / "1").predict(frame)
    assert alone.equals(Predictor.load(tmp_path / "1").predict(frame))


def test_the_version_is_the_contents_and_not_the_times(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    def later(index: int) -> Any:
        contents = read_bundle(tmp_path / str(index))
        return replace(contents, manifest=replace(contents.manifest, created="2031-01-01T00:00:00+00:00"))

    read = read_contents(ensemble)
    arguments: dict[str, Any] = {
        "statistics": read.statistics,
        "metrics": read.manifest.metrics,
        "model_card": "# Three\n",
    }
    again = write_ensemble(tmp_path / "again", [later(index) for index in SEEDS], **arguments)
    assert verify(again).version == verify(ensemble).version
    assert (again / MEMBERS / "0" / MANIFEST).read_bytes() != (ensemble / MEMBERS / "0" / MANIFEST).read_bytes()
    two = write_ensemble(tmp_path / "two", [read_bundle(tmp_path / "0"), read_bundle(tmp_path / "1")], **arguments)
    assert verify(two).version != verify(ensemble).version


OUTER = (MANIFEST, "schema.json", "statistics.json", "model_card.md", "sample_request.json")
ALL = [*OUTER, *(f"{MEMBERS}/1/{name}" for name in (MANIFEST, *REQUIRED_FILES))]


def said(path: str) -> str:
    """The start of a sentence about a file, which names the member's folder."""
    folder, _, name = path.rpartition("/")
    return rf"^Bundle '[^']*ensemble{'/' if folder else ''}{folder}': {name.replace('.', '[.]')} "


@pytest.mark.parametrize("path", ALL)
def test_any_flipped_bit_is_found_and_the_file_named(ensemble: Path, path: str) -> None:
    content = (ensemble / path).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 7)):
        changed = bytearray(content)
        changed[position] ^= 1 << 3
        (ensemble / path).write_bytes(changed)
        for read in (verify, read_contents):
            with pytest.raises(BundleError, match=said(path)):
                read(ensemble)
    (ensemble / path).write_bytes(content)
    verify(ensemble)


@pytest.mark.parametrize("path", ALL[1:])
def test_a_missing_file_is_named(ensemble: Path, path: str) -> None:
    (ensemble / path).unlink()
    with pytest.raises(BundleError, match=r"bundle\.json" if path.endswith(MANIFEST) else said(path) + "is missing"):
        verify(ensemble)


@pytest.mark.parametrize("path", ["notes.txt", f"{MEMBERS}/notes.txt", f"{MEMBERS}/3", f"{MEMBERS}/1/evil.py"])
def test_what_is_not_listed_is_refused(ensemble: Path, path: str) -> None:
    (ensemble / path).write_bytes(b"x")
    with pytest.raises(BundleError, match=said(path) + "is not listed in"):
        verify(ensemble)


@pytest.mark.parametrize("path", [MEMBERS, f"{MEMBERS}/1"])
def test_links_to_folders_are_not_followed(ensemble: Path, path: str) -> None:
    (ensemble / path).rename(ensemble.parent / "elsewhere")
    (ensemble / path).symlink_to(ensemble.parent / "elsewhere")
    with pytest.raises(BundleError, match=said(path) + "is not a folder; links are not followed"):
        verify(ensemble)


@pytest.mark.parametrize("path", [MEMBERS, f"{MEMBERS}/2"])
def test_a_member_that_is_gone_is_named(ensemble: Path, path: str) -> None:
    shutil.rmtree(ensemble / path)
    with pytest.raises(BundleError, match=said(path) + "is missing"):
        verify(ensemble)


def test_members_that_have_changed_places_are_refused(ensemble: Path) -> None:
    members = ensemble / MEMBERS
    for old, new in (("0", "x"), ("1", "0"), ("x", "1")):
        (members / old).rename(members / new)
    with pytest.raises(
        BundleError, match=said(f"{MEMBERS}/0/{MANIFEST}") + "is not the one that '.*ensemble/bundle.json'"
    ):
        verify(ensemble)


def rewrite(ensemble: Path, change: Callable[[EnsembleManifest], EnsembleManifest]) -> None:
    """What an attacker would do: change the manifest and compute its checksum anew."""
    manifest = EnsembleManifest.from_json(ensemble, (ensemble / MANIFEST).read_bytes())
    (ensemble / MANIFEST).write_text(change(manifest).to_json())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((), "lists no members"),
        ((Member("0" * 12, "zz", 3),), "gives no usable size and SHA-256 for the member 0"),
        ((Member("0" * 12, "0" * 64, -1),), "gives no usable size and SHA-256 for the member 0"),
    ],
)
def test_members_that_cannot_be_are_refused(ensemble: Path, members: tuple[Member, ...], words: str) -> None:
    rewrite(ensemble, lambda manifest: replace(manifest, members=members))
    with pytest.raises(BundleError, match=said(MANIFEST) + words):
        verify(ensemble)


def test_a_manifest_of_another_form_is_refused(ensemble: Path) -> None:
    values = json.loads((ensemble / MANIFEST).read_text())
    rewrite(ensemble, lambda manifest: replace(manifest, members=manifest.members[:1]))
    with pytest.raises(BundleError, match=rf"{MEMBERS}': 1 is not listed"):
        verify(ensemble)
    (ensemble / MANIFEST).write_text(json.dumps({**values, "format_version": 1}))
    with pytest.raises(BundleError, match=said(MANIFEST)):
        verify(ensemble)


def test_an_ensemble_within_an_ensemble_is_refused(ensemble: Path, tmp_path: Path) -> None:
    shutil.rmtree(ensemble / MEMBERS / "0")
    shutil.copytree(ensemble, tmp_path / "inner")
    shutil.move(tmp_path / "inner", ensemble / MEMBERS / "0")
    content = (ensemble / MEMBERS / "0" / MANIFEST).read_bytes()
    entry = Member("0" * 12, *vars(FileEntry.of(content)).values())
    rewrite(ensemble, lambda manifest: replace(manifest, members=(entry, *manifest.members[1:])))
    with pytest.raises(BundleError, match=rf"{MEMBERS}/0"):
        verify(ensemble)


def test_a_member_of_another_task_is_refused(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    other = fitted(TaskKind.REGRESSION).write(tmp_path / "other")
    contents = [read_bundle(tmp_path / "0"), read_bundle(other)]
    with pytest.raises(BundleError, match=r"other': schema\.json is of another table or task than the rest"):
        write_ensemble(tmp_path / "mixed", contents, statistics=contents[0].statistics, metrics={}, model_card="")
    assert not (tmp_path / "mixed").exists()
    shutil.rmtree(ensemble / MEMBERS / "1")
    shutil.copytree(other, ensemble / MEMBERS / "1")
    entry = FileEntry.of((other / MANIFEST).read_bytes())
    member = Member(verify(other).version, entry.sha256, entry.size)
    rewrite(ensemble, lambda manifest: replace(manifest, members=(manifest.members[0], member, manifest.members[2])))
    with pytest.raises(BundleError, match=said(f"{MEMBERS}/1/schema.json") + "is of another table"):
        read_contents(ensemble)


def test_a_member_that_changed_since_it_was_read_is_not_written(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    contents = [read_bundle(tmp_path / str(seed)) for seed in SEEDS]
    (tmp_path / "1" / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"1': weights\.safetensors has 1 bytes"):
        write_ensemble(tmp_path / "new", contents, statistics=contents[0].statistics, metrics={}, model_card="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "ensemble"]


def test_statistics_of_other_features_are_refused(fitted: Fit, ensemble: Path, tmp_path: Path) -> None:
    contents = [read_bundle(tmp_path / str(seed)) for seed in SEEDS]
    features = contents[0].statistics.features
    other = replace(contents[0].statistics, features=replace(features, numeric=features.numeric[1:]))
    written = write_ensemble(tmp_path / "new", contents, statistics=other, metrics={}, model_card="")
    with pytest.raises(BundleError, match=r"new': statistics\.json is of other features than preprocess\.json makes"):
        read_contents(written)


def test_one_model_is_not_read_from_an_ensemble(ensemble: Path) -> None:
    with pytest.raises(BundleError, match=said(MANIFEST) + "is of an ensemble; one model was expected"):
        read_bundle(ensemble)


def test_an_ensemble_is_replaced_only_when_asked_and_only_if_it_is_ours(fitted: Fit, ensemble: Path) -> None:
    with pytest.raises(BundleError, match="already; --force replaces it"):
        check_free(ensemble, overwrite=False)
    (ensemble / MEMBERS / "1" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"holds 'members/1/notes\.txt', which is not mlpipe's"):
        check_free(ensemble, overwrite=True)
    (ensemble / MEMBERS / "1" / "notes.txt").unlink()
    fitted(TaskKind.BINARY).write(ensemble, overwrite=True)
    assert not (ensemble / MEMBERS).exists()
    verify(ensemble)
