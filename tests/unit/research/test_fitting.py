"""A run directory from start to end, and what a resume that is refused leaves of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpipe.data.load import load_table
from mlpipe.errors import ConfigError
from mlpipe.research.fitting import fit_table
from mlpipe.training.loop import Trained
from mlpipe.training.parser import parse_config
from mlpipe.training.rundir import RunDirectory

CONFIG = """\
data: {path: table.csv, target: y, batch_size: 16}
model: {width: 8, num_heads: 1, num_layers: 1, readout_tokens: 2}
trainer: {max_epochs: 2, accelerator: cpu}
tracking: {enabled: false}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table and a config."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=80)
    pl.DataFrame({"x": x, "y": x + random.normal(size=80)}).write_csv("table.csv")
    Path("config.yaml").write_text(CONFIG)
    return tmp_path


def fit(*words: str, run: str = "run", resume: bool = False) -> tuple[RunDirectory, Trained]:
    """As `mlpipe fit` does it: a resumed run reads its own config."""
    saved = Path(run, "config.yaml")
    config = parse_config(["--config", str(saved) if resume and saved.is_file() else "config.yaml", *words])
    return fit_table(config, load_table(config.data), run=run, resume=resume, progress=False)


def files(run: RunDirectory) -> dict[str, bytes]:
    return {str(path.relative_to(run.path)): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


REFUSED = [
    (["--model.width=16"], r"`model\.width` is 16, but the run began with 8"),
    (["--training.optimizer=adamw"], r"`training\.optimizer` is 'adamw', but the run began with 'muon'; .* keeps its"),
    (["--trainer.max_epochs=1"], "The run has done 2 epochs already"),
    (["--trainer.precision=16-true", "--trainer.max_epochs=3"], r"`trainer\.precision` is 16-true"),
    (["--training.interval=0.99", "--trainer.max_epochs=3"], "it takes 99 validation rows"),
]
#: Of these the config is written before it is known.
REFUSED_LATER = [
    (["--trainer.val_check_interval=1.5", "--trainer.max_epochs=3"], "`trainer`: .*val_check_interval"),
    (["--tracking={enabled: true, experiment: Default}"], r"`tracking\.experiment` cannot be 'Default'"),
]


def test_a_resume_that_is_refused_leaves_the_run_as_it_was(folder: Path) -> None:
    run, _ = fit()
    before = files(run)
    for words, sentence in REFUSED:
        with pytest.raises(ConfigError, match=sentence):
            fit(*words, resume=True)
        assert files(run) == before
    for words, sentence in REFUSED_LATER:
        with pytest.raises(ConfigError, match=sentence):
            fit(*words, resume=True)
        assert run.config.read_bytes() == before["config.yaml"]
    assert fit("--trainer.max_epochs=3", resume=True)[1].epochs == 3


def test_a_first_try_that_is_refused_leaves_no_folder(folder: Path) -> None:
    for resume in (False, True):
        with pytest.raises(ConfigError, match="val_check_interval"):
            fit("--trainer.val_check_interval=1.5", resume=resume)
        assert not Path("run").exists()
