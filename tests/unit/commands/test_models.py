"""`mlpipe models` from words to sentences, on a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.cli import main
from mlpipe.schema import TaskKind
from mlpipe.serving.folder_registry import FolderRegistry
from mlpipe.serving.reload import ReloadError

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs `mlpipe models` in an empty folder: exit code, output, and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPIPE_REGISTRY", "models")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MLPIPE_ADMIN_KEY", raising=False)

    def run(line: str) -> tuple[int, str, str]:
        code = main(["models", *line.split()])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def bundles(fitted: Callable[..., Any], tmp_path: Path) -> None:
    for index in range(3):
        metrics = {"validation": {"log_loss": 0.6}, "test": {"log_loss": 0.5 - index / 100, "brier": 0.1}}
        fitted(TaskKind.BINARY).write(tmp_path / f"b{index}", metrics=metrics)
    fitted(TaskKind.REGRESSION).write(tmp_path / "r", metrics={})


@pytest.fixture
def two(say: Say, bundles: None) -> Say:
    say("register b0 flights --alias champion")
    say("register b1 flights --alias challenger")
    return say


def champion(name: str = "flights") -> int | None:
    return FolderRegistry("models").alias_number(name, "champion")


def test_a_model_from_registration_to_rollback(say: Say, bundles: None) -> None:
    code, out, _ = say("list")
    assert (code, out) == (
        0,
        "No model is registered in 'models'; `mlpipe models register BUNDLE NAME` brings the first one.\n",
    )
    code, out, _ = say("register b0 flights --alias champion")
    assert (code, out.split(": bundle ")[0]) == (0, "flights 1, and champion")
    code, out, _ = say("register b1 flights")
    assert (code, out.split(": bundle ")[0]) == (0, "flights 2")
    assert say("promote flights 2") == (0, "champion of flights: 1 → 2; log_loss 0.5000 → 0.4900\n", "")
    assert say("promote flights 2") == (0, "champion of flights is version 2 already.\n", "")
    assert say("rollback flights") == (0, "champion of flights: 2 → 1\n", "")
    code, out, err = say("rollback flights")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'champion' of 'flights' has pointed to version 1 alone")
    assert say("promote flights 2 --to shadow") == (0, "shadow of flights: nothing → 2\n", "")


def test_the_challenger_becomes_the_champion(two: Say) -> None:
    assert two("promote flights")[0] == 0
    assert champion() == 2
    assert two("promote flights --from champion --to stable")[1] == "stable of flights: nothing → 2\n"
    code, _, err = two("promote flights 1 --from challenger")
    assert (code, err) == (2, "error: Either NUMBER or --from says which version to promote, not both.\n")


def test_the_list_shows_numbers_metrics_and_aliases(two: Say) -> None:
    code, out, _ = two("list")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if "flights" in line]
    assert [(row[0], row[3:]) for row in rows] == [
        ("flights/1", ["0.5000", "champion"]),
        ("flights/2", ["0.4900", "challenger"]),
    ]
    code, out, _ = two("list flights --json")
    assert [(version["number"], version["aliases"]) for version in json.loads(out)] == [
        (1, ["champion"]),
        (2, ["challenger"]),
    ]
    assert two("list --json --registry elsewhere")[1] == "[]\n"
    code, _, err = two("list flihgts")
    assert (code, err) == (2, "error: There is no model 'flihgts' in 'models'. Did you mean 'flights'?\n")


def test_a_damaged_version_is_listed_and_told(two: Say) -> None:
    Path("models/flights/2/bundle.json").write_text("{")
    code, out, err = two("list")
    assert code == 0
    assert "damaged" in out
    assert "bundle.json is not JSON" in err


def test_another_task_is_promoted_by_force_only(two: Say) -> None:
    two("register r flights")
    code, out, err = two("promote flights 3")
    assert (code, out) == (2, "")
    assert err == (
        "error: Version 3 of 'flights' predicts 'price' (regression) and not 'bought' (binary), unlike version 1, "
        "which is champion now; --force promotes it all the same.\n"
    )
    assert champion() == 1
    assert two("promote flights 3 --force")[:2] == (0, "champion of flights: 1 → 3\n")


def test_a_damaged_version_is_not_promoted(two: Say) -> None:
    weights = Path("models/flights/2/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = two("promote flights 2 --force")
    assert code == 2
    assert "weights.safetensors has" in err
    assert champion() == 1


def test_a_damaged_version_is_replaced_by_force(two: Say) -> None:
    manifest = Path("models/flights/1/bundle.json")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    code, _, err = two("promote flights 2")
    assert (code, champion()) == (2, 1)
    assert "bundle.json" in err
    assert two("promote flights 2 --force")[0] == 0
    assert champion() == 2


def test_differences_are_shown_for_versions_and_for_paths(two: Say) -> None:
    for line in ("diff flights champion 2", "diff b0 models:/flights/2", "diff b0 b1"):
        code, out, _ = two(line)
        assert code == 0
        assert "test log_loss" in out
        assert "-0.0100" in out
    assert len(out.splitlines()) < 24
    two("register r flights")
    code, out, _ = two("diff flights 1 3")
    for words in ("task kind", "binary", "regression", "column price"):
        assert words in out
    code, out, _ = two("diff flights 1 2 --json")
    assert json.loads(out)["metrics"]["test"]["log_loss"] == [0.5, 0.49]
    code, _, err = two("diff flights")
    assert code == 2
    assert err == "error: `mlpipe models diff` takes NAME and two of its numbers or aliases, or two paths of bundles.\n"


def test_a_server_is_told_after_the_alias_has_moved(two: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, int | None]] = []

    def reload(url: str, key: str) -> str:
        told.append((url, key, champion()))
        return "9c03"

    monkeypatch.setattr("mlpipe.commands.models.reload_server", reload)
    Path("key").write_text("from the file\n")
    code, out, _ = two("promote flights --server http://127.0.0.1:8001/ --admin-key-file key")
    assert code == 0
    assert out.splitlines()[-1] == "http://127.0.0.1:8001 answers with 9c03"
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", "from the environment")
    assert two("rollback flights --server http://127.0.0.1:8001")[0] == 0
    assert two("promote flights 1 --server http://127.0.0.1:8001")[0] == 0  # it is already, and the server may not be
    assert told == [
        ("http://127.0.0.1:8001", "from the file", 2),
        ("http://127.0.0.1:8001", "from the environment", 1),
        ("http://127.0.0.1:8001", "from the environment", 1),
    ]


def test_a_server_that_does_not_swap_leaves_the_alias_and_says_so(two: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, key: str) -> str:
        raise ReloadError(f"{url} answered 409: the weights are damaged")

    monkeypatch.setattr("mlpipe.commands.models.reload_server", refuse)
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", "secret")
    code, out, err = two("promote flights --server http://127.0.0.1:8001")
    assert code == 1
    assert out == "champion of flights: 1 → 2; log_loss 0.5000 → 0.4900\n"
    assert err == (
        "error: http://127.0.0.1:8001 answered 409: the weights are damaged. In 'models' champion of flights is "
        "version 2.\n"
    )
    assert champion() == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--server http://h",
            "--server needs the server's admin key, and the environment variable MLPIPE_ADMIN_KEY has",
        ),
        (
            "--server h:80 --admin-key-file key",
            "--server 'h:80' is no address of a server, such as http://127.0.0.1:8001",
        ),
        ("--server http://h --admin-key-file none", "--admin-key-file 'none' cannot be read ("),
        ("--server http://h --admin-key-file empty", "--server needs the server's admin key, and empty has none."),
        ("--server http://h --admin-key-file lines", "--server needs the server's admin key, and lines has none."),
        ("--admin-key-file key", "--admin-key-file is of use with --server alone."),
    ],
)
def test_nothing_moves_if_the_server_could_not_be_told(two: Say, words: str, sentence: str) -> None:
    Path("key").write_text("secret")
    Path("empty").write_text("\n")
    Path("lines").write_text("one\ntwo: x")
    code, out, err = two(f"promote flights {words}")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert champion() == 1


@pytest.fixture
def log(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    parts = [
        pl.DataFrame(
            {
                "request_id": [f"r{i}" for i in range(300)],
                "model_version": name,
                "prediction": truth + rng.normal(size=300) * noise,
                "shadow": shadow,
            }
        )
        for name, noise, shadow in (("aaaa", 1.0, False), ("bbbb", 0.3, True), ("cccc", 1.0, True))
    ]
    pl.concat(parts).write_parquet(tmp_path / "log.parquet")
    pl.DataFrame({"request_id": [f"r{i}" for i in range(280)], "y": truth[:280]}).write_csv(tmp_path / "y.csv")


def test_versions_are_compared(say: Say, log: None) -> None:
    code, out, _ = say("compare --requests log.parquet --outcomes y.csv --target y")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines() if line.strip()[:4] in ("aaaa", "bbbb", "cccc")][:3] == [
        ["aaaa", "280", "280"],
        ["bbbb", "280", "0"],
        ["cccc", "280", "0"],
    ]
    assert "60 answers have no outcome yet." in out
    assert "bbbb is better than aaaa. rmse of bbbb minus that of aaaa: -0." in out
    assert "The data cannot tell cccc and aaaa apart. rmse of cccc minus that of aaaa:" in out
    assert "97.5 % interval" in out
    code, out, _ = say("compare --requests log.parquet --outcomes y.csv --target y --metric mae --json")
    record = json.loads(out)
    assert (record["metric"], [duel["better"] for duel in record["duels"]]) == ("mae", ["second", "cannot tell"])
    code, _, err = say("compare --requests log.parquet --outcomes y.csv --target z")
    assert (code, err.startswith("error: y.csv has no column 'z'.")) == (2, True)


def test_one_version_alone_is_not_compared(say: Say, log: None) -> None:
    pl.read_parquet("log.parquet").head(300).write_parquet("one.parquet")
    code, out, _ = say("compare --requests one.parquet --outcomes y.csv --target y")
    assert (code, out.splitlines()[-1]) == (0, "There is only one version, so there is nothing to compare.")
