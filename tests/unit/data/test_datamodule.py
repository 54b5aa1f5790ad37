"""The data module: fitted on training rows alone, once, and batches that belong to their frames."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.infer import infer_schema
from mlpipe.errors import ConfigError, DataError
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "x": random.normal(size=rows),
            "color": random.choice(["red", "green", "blue"], rows),
            "w": random.integers(1, 4, rows),
            "y": random.choice(["no", "yes"], rows),
        }
    )


FRAMES = {"train": table(100), "validation": table(30, 1), "test": table(20, 2)}
SCHEMA = infer_schema(FRAMES["train"], "y", weight="w")


def module(
    frames: dict[str, pl.DataFrame] | None = None, batch_size: int | None = 32, seed: int = 0
) -> TabularDataModule:
    return TabularDataModule(SCHEMA, frames or FRAMES, batch_size=batch_size, eval_batch_size=8, seed=seed)


def test_preprocessing_is_fitted_on_the_training_rows_alone() -> None:
    data = module()
    data.setup()
    alone = Preprocessor(SCHEMA, FeaturesConfig()).fit(FRAMES["train"])
    assert data.preprocessor.to_dict() == alone.to_dict()
    other = module({**FRAMES, "validation": table(40, 7), "test": table(50, 8)})
    other.setup()
    assert other.preprocessor.to_dict() == alone.to_dict()
    assert data.spec == alone.input_spec_


def test_parts_are_transformed_as_the_preprocessor_would() -> None:
    data = module()
    data.setup()
    for part in ("validation", "test"):
        expected = data.preprocessor.transform(FRAMES[part], with_target=True)
        for name in ("numeric", "missing", "categorical", "target", "weight"):
            np.testing.assert_array_equal(getattr(data.arrays[part], name), getattr(expected, name))
    weight = data.arrays["train"].weight
    assert weight is not None
    given = FRAMES["train"]["w"].to_numpy()
    np.testing.assert_allclose(weight, given / given.mean(), rtol=1e-6)  # 1 in the mean, as the loss wants them
    assert weight.dtype == np.float32


def test_the_second_setup_does_nothing() -> None:
    data = module()
    data.setup("fit")
    before = dict(data.arrays)
    data.setup("validate")
    assert all(data.arrays[part] is before[part] for part in before)


def test_an_empty_test_part_is_no_hindrance() -> None:
    data = module({**FRAMES, "test": table(0)})
    data.setup()
    assert len(data.arrays["test"]) == 0
    assert list(data.test_dataloader()) == []


def test_held_out_rows_come_in_file_order_and_all_of_them() -> None:
    data = module()
    data.setup()
    for part, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        assert {len(batch.numeric) for batch in batches[:-1]} == {8}
        np.testing.assert_array_equal(torch.cat([batch.numeric for batch in batches]), data.arrays[part].numeric)


def test_training_rows_are_shuffled_by_the_seed() -> None:
    def order(seed: int) -> list[float]:
        data = module(seed=seed)
        data.setup()
        return [float(value) for batch in data.train_dataloader() for value in batch.numeric[:, 0]]

    assert order(0) == order(0)
    assert order(0) != order(1)
    data = module()
    data.setup()
    assert len(order(0)) == 96  # whole batches of 32 only
    assert set(order(0)) < {float(value) for value in data.arrays["train"].numeric[:, 0]}


def test_devices_share_the_training_rows_and_each_has_all_others() -> None:
    data = [module(batch_size=4) for _ in range(2)]
    for rank, one in enumerate(data):
        one.setup()
        strategy = SimpleNamespace(root_device="cpu")
        one.trainer = SimpleNamespace(global_rank=rank, world_size=2, strategy=strategy)  # type: ignore[assignment]
    for first, second in zip(*(one.train_dataloader() for one in data), strict=True):
        assert len(first.numeric) == len(second.numeric) == 2
        assert not set(first.numeric[:, 0].tolist()) & set(second.numeric[:, 0].tolist())
    for part in (TabularDataModule.val_dataloader, TabularDataModule.test_dataloader):
        first, second = ([batch.numeric for batch in part(one)] for one in data)
        assert torch.equal(torch.cat(first), torch.cat(second))


@pytest.mark.parametrize(("batch_size", "rows"), [(3, 100), (32, 3)])
def test_more_devices_than_rows_in_a_step_are_refused(batch_size: int, rows: int) -> None:
    data = module({**FRAMES, "train": FRAMES["train"][:rows]}, batch_size=batch_size)
    data.setup()
    strategy = SimpleNamespace(root_device="cpu")
    data.trainer = SimpleNamespace(global_rank=0, world_size=4, strategy=strategy)  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"^3 rows per step cannot be shared by 4 devices; .*`data\.batch_size`"):
        data.train_dataloader()


@pytest.mark.parametrize(("rows", "expected"), [(100, 32), (3_000, 64)])
def test_the_batch_size_follows_from_the_training_rows(rows: int, expected: int) -> None:
    data = TabularDataModule(SCHEMA, {**FRAMES, "train": table(rows)})
    assert data.batch_size == expected


def test_a_label_that_training_has_not_seen_is_an_error() -> None:
    wrong = FRAMES["test"].with_columns(y=pl.lit("maybe"))
    with pytest.raises(DataError, match="label 'maybe' in the target column 'y'"):
        module({**FRAMES, "test": wrong}).setup()


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_in_which_no_row_counts_is_refused(part: str) -> None:
    data = module({**FRAMES, part: FRAMES[part].with_columns(w=pl.lit(0))})
    with pytest.raises(DataError, match=rf"All {FRAMES[part].height} {part} rows have a weight of 0"):
        data.setup()


def test_a_batch_has_a_row_at_least() -> None:
    with pytest.raises(ConfigError, match="`batch_size` is 0; it has to be at least 1"):
        module(batch_size=0)
