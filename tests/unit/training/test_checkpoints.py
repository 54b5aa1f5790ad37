"""Checkpoints on their own; what they do in a run is in test_loop.py and in tests/integration/test_resume.py."""

from __future__ import annotations

from pathlib import Path

import torch

from mlpipe.training.checkpoints import BestCheckpoint


def test_the_best_checkpoint_is_known_where_its_folder_has_been_moved_to(tmp_path: Path) -> None:
    old, new = (BestCheckpoint(tmp_path / name, "best", monitor="val/rmse") for name in ("old", "new"))
    old.best_model_score = old.kth_value = torch.tensor(0.5)
    old.best_model_path = old.kth_best_model_path = str(tmp_path / "old" / "best.ckpt")
    old.best_k_models = {old.best_model_path: old.kth_value}
    new.load_state_dict(old.state_dict())
    path = str(tmp_path / "new" / "best.ckpt")
    assert new.best_model_score is new.kth_value is new.best_k_models[path] is old.kth_value
    assert len(new.best_k_models) == 1
    assert new.best_model_path == new.kth_best_model_path == path
    assert new.last_model_path == ""
