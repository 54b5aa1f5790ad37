import json
import re
from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.training.rundir import RunDirectory, open_run, unique_name, write_json, write_text


def make_run(root: Path, name: str) -> RunDirectory:
    run = RunDirectory.create(root, "adult", name)
    run.preprocess.write_text("{}")
    run.config.write_text("seed_everything: 0\n")
    return run


def test_a_new_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    first, second = (RunDirectory.create(tmp_path, "adult") for _ in range(2))
    assert first.path != second.path
    assert first.path.parent == tmp_path / "adult"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{4}", first.path.name)
    assert first.checkpoints.is_dir()
    assert first.plots.is_dir()


def test_names_of_one_second_differ() -> None:
    assert len({unique_name() for _ in range(20)}) > 15


def test_a_path_goes_before_root_and_name(tmp_path: Path) -> None:
    run = RunDirectory.create("elsewhere", "adult", "name", path=tmp_path / "here")
    assert run.path == tmp_path / "here"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert RunDirectory.create(path=tmp_path).path == tmp_path


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    run = make_run(tmp_path, "first")
    with pytest.raises(ConfigError, match=r"adult/first is not empty: .*`--resume`.*another with `--run`\.$"):
        RunDirectory.create(tmp_path, "adult", "first")
    assert run.config.read_text() == "seed_everything: 0\n"


def test_resume_takes_up_a_run_or_begins_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, "first")
    assert RunDirectory.create(path=run.path, resume=True) == run
    assert RunDirectory.create(path=tmp_path / "new", resume=True).checkpoints.is_dir()


@pytest.mark.parametrize("cross_validation", [False, True])
@pytest.mark.parametrize(
    "theirs", ["config.yaml", "metrics.json", "checkpoints/last.ckpt", "plots/a.png", "bundle.json preprocess.json"]
)
def test_resume_takes_no_folder_of_something_else(tmp_path: Path, theirs: str, cross_validation: bool) -> None:
    for name in theirs.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("theirs")
    with pytest.raises(ConfigError, match=r" is not empty and holds no run to go on with: name another .* `--run`\.$"):
        RunDirectory.check(tmp_path, resume=True, cross_validation=cross_validation)
    with pytest.raises(ConfigError, match="holds no run"):
        RunDirectory.create(path=tmp_path, resume=True)


@pytest.mark.parametrize("written", ["", "preprocess.json", "folds.json", "mlflow.json", ".preprocess.json.0a1b.new"])
def test_resume_takes_a_run_that_was_killed_at_its_start(tmp_path: Path, written: str) -> None:
    run = RunDirectory.create(path=tmp_path / "run")
    if written:
        (run.path / written).write_text("{}")
    RunDirectory.check(run.path, resume=True, cross_validation=run.is_cross_validation)


def test_resume_has_to_know_what(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say which one with `--run DIR`"):
        RunDirectory.create(tmp_path, "adult", resume=True)


@pytest.mark.parametrize("below", ["", "run", "experiment/run"])
def test_a_file_is_no_folder_and_holds_none(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"/file is a file; `--run` names a folder\.$"):
        RunDirectory.create(path=tmp_path / "file" / below, resume=True)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="/link is a file"):
        RunDirectory.create(path=tmp_path / "link" / below)


def test_open_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, "first")
    make_run(tmp_path, "another")
    assert open_run(str(run.path)) == run
    with pytest.raises(ConfigError, match=r"There is no run .*/frist\. Did you mean 'first'\?"):
        open_run(tmp_path / "adult" / "frist")
    with pytest.raises(ConfigError, match=r"adult is no run: it has no config\.yaml\. There are: another, first\."):
        open_run(tmp_path / "adult")
    with pytest.raises(ConfigError, match=r"plots is no run: it has no config\.yaml\.$"):
        open_run(run.plots)
    with pytest.raises(ConfigError, match=r"There is no run .*nowhere/at-all\.$"):
        open_run(tmp_path / "nowhere" / "at-all")


def test_json_reads_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.json"
    value = {"validation": {"auroc": 0.1 + 0.2}, "note": "Zürich"}
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert "Zürich" in path.read_text(encoding="utf-8")
    write_text(path, "again\n")
    assert path.read_bytes() == b"again\n"
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"auroc": float("nan")})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_cross_validation_is_no_single_run_and_a_run_no_cross_validation(tmp_path: Path) -> None:
    run, folds = make_run(tmp_path, "run"), make_run(tmp_path, "folds")
    write_json(folds.folds, {"runs": []})
    assert (run.is_cross_validation, folds.is_cross_validation) == (False, True)
    RunDirectory.check(run.path, resume=True)
    RunDirectory.check(folds.path, resume=True, cross_validation=True)
    with pytest.raises(ConfigError, match=r"folds is a cross-validation and no single run: .* `mlpipe crossval --run"):
        RunDirectory.check(folds.path, resume=True)
    with pytest.raises(ConfigError, match=r"run is a single run: go on with it by `mlpipe fit --run .*/run --resume`"):
        RunDirectory.check(run.path, resume=True, cross_validation=True)
    with pytest.raises(
        ConfigError, match="folds is a cross-validation, each fold of which has rows of its own; name one"
    ):
        open_run(folds.path)


def test_a_run_is_finished_once_its_metrics_are_those_of_the_whole_training(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run")
    assert not run.is_finished
    write_json(run.metrics_json, {"train_seconds": 1.0, "interrupted": True})
    assert not run.is_finished
    write_json(run.metrics_json, {"train_seconds": 1.0})
    assert run.is_finished
