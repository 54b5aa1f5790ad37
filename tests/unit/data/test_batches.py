"""Batches by index: which rows come when, and that a position within an epoch survives a checkpoint."""

import numpy as np
import pytest
import torch

from mlpipe.arrays import Arrays
from mlpipe.data.batches import TensorBatches


def table(rows: int) -> Arrays:
    return Arrays(
        numeric=np.arange(rows, dtype=np.float32)[:, None],
        missing=np.zeros((rows, 1), dtype=bool),
        categorical=np.zeros((rows, 0), dtype=np.int32),
        target=np.arange(rows, dtype=np.float32),
    )


def rows_of(batches: TensorBatches) -> list[list[int]]:
    return [batch.numeric[:, 0].int().tolist() for batch in batches]


def test_unshuffled_batches_hold_every_row_in_file_order() -> None:
    batches = TensorBatches(table(10), 4)
    assert rows_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(batches) == 3


def test_shuffled_batches_leave_out_the_last_smaller_one_but_not_the_only_one() -> None:
    assert [len(rows) for rows in rows_of(TensorBatches(table(10), 4, shuffle=True))] == [4, 4]
    assert sorted(rows_of(TensorBatches(table(3), 4, shuffle=True))[0]) == [0, 1, 2]


def test_the_columns_of_a_batch_belong_to_the_same_rows() -> None:
    for batch in TensorBatches(table(64), 16, shuffle=True, seed=3):
        assert batch.target is not None
        assert torch.equal(batch.numeric[:, 0], batch.target)


def test_order_is_a_function_of_seed_and_epoch_alone() -> None:
    first, second = TensorBatches(table(50), 8, shuffle=True, seed=1), TensorBatches(table(50), 8, shuffle=True, seed=1)
    rows_of(second)  # an epoch already drawn must not matter
    first.sampler.set_epoch(5)
    second.sampler.set_epoch(5)
    assert rows_of(first) == rows_of(second)
    second.sampler.set_epoch(6)
    assert rows_of(first) != rows_of(second)


@pytest.mark.parametrize("seen", [0, 1, 5, 6])
def test_goes_on_where_a_checkpoint_was_taken(seen: int) -> None:
    whole = rows_of(TensorBatches(table(50), 8, shuffle=True, seed=1))
    first = TensorBatches(table(50), 8, shuffle=True, seed=1)
    iterator = iter(first)
    for _ in range(seen):
        next(iterator)
    second = TensorBatches(table(50), 8, shuffle=True, seed=1)
    second.load_state_dict(first.state_dict())
    # After the last batch of an epoch the next one to come is the first of another epoch.
    assert rows_of(second) == (whole[seen:] or whole)
    assert rows_of(second) == whole, "the position is used once"


@pytest.mark.parametrize(("rows", "world_size"), [(50, 2), (50, 3), (5, 4)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_several_processes_share_each_batch(rows: int, world_size: int, shuffle: bool) -> None:
    alone = TensorBatches(table(rows), 8, shuffle=shuffle, seed=1)
    ranks = [
        TensorBatches(table(rows), 8, shuffle=shuffle, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in (0, 1):
        for batches in (alone, *ranks):
            batches.sampler.set_epoch(epoch)
        assert {len(batches) for batches in ranks} == {len(alone)}
        for whole, *shares in zip(rows_of(alone), *map(rows_of, ranks), strict=True):
            assert sorted(row for share in shares for row in share) == sorted(whole)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
