"""Folds: who is held out when, what stays aside, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.data.folds import NEVER, all_folds, fold_numbers, split_fold
from mlpipe.data.infer import infer_schema
from mlpipe.data.split import Split, SplitConfig
from mlpipe.errors import ConfigError, DataError

N = 200


def table(**columns: Any) -> pl.DataFrame:
    base = {"x": [(i * 37) % 50 / 2 for i in range(N)], "y": ["yes" if i % 4 == 0 else "no" for i in range(N)]}
    return pl.DataFrame(base | columns)


def splits(frame: pl.DataFrame, schema: dict[str, Any] | None = None, **config: Any) -> list[Split]:
    """The split of every fold."""
    given = SplitConfig(**{"folds": 5, **config})
    return [split_fold(frame, infer_schema(frame, "y", **(schema or {})), fold) for fold in all_folds(given, 1)]


def test_each_fold_keeps_the_share_of_each_class_in_all_parts() -> None:
    frame = table()
    found = splits(frame, validation=0.25)
    assert [(len(s.train), len(s.validation), len(s.test)) for s in found] == [(120, 40, 40)] * 5
    for split in found:
        for part in (split.train, split.validation, split.test):
            assert (frame[part]["y"] == "yes").mean() == 0.25


def test_the_cut_is_fixed_for_all_time_and_each_repeat_is_another() -> None:
    frame = table()
    schema, config = infer_schema(frame, "y"), SplitConfig("random", folds=5, seed=1)
    cuts = [fold_numbers(frame, schema, replace(config, repeat=repeat)).tolist() for repeat in range(3)]
    assert cuts[0][:12] == [1, 2, 3, 4, 2, 1, 4, 1, 0, 4, 1, 3]
    assert len({tuple(cut) for cut in cuts}) == 3
    assert fold_numbers(frame, schema, replace(config, seed=2)).tolist() not in cuts


def test_all_folds_come_repeat_by_repeat() -> None:
    found = all_folds(SplitConfig(folds=2), repeats=2)
    assert [(config.repeat, config.fold) for config in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_share_of_the_test_is_not_used() -> None:
    frame = table()
    assert all(
        np.array_equal(a.train, b.train) for a, b in zip(splits(frame, test=0.0), splits(frame, test=0.4), strict=True)
    )


def test_large_groups_are_spread_and_the_folds_like_in_size() -> None:
    who = ["a"] * 60 + ["b"] * 50 + [f"w{i % 30}" for i in range(90)]
    found = splits(table(who=who), {"group": "who"}, folds=3)
    sizes = [len(split.test) for split in found]
    assert max(sizes) - min(sizes) <= 3  # a small group's


def test_windows_in_time_have_like_sizes_and_the_window_of_training_grows() -> None:
    frame = table(when=[(i * 77) % N for i in range(N)])
    found = splits(frame, {"time": "when"}, folds=4, validation=0.2)
    assert [len(split.test) for split in found] == [40] * 4
    assert [len(split.train) + len(split.validation) for split in found] == [40, 80, 120, 160]
    for split in found:
        times = [frame[part]["when"] for part in (split.train, split.validation, split.test)]
        assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()  # type: ignore[operator]


def test_rows_of_one_time_stay_together_however_many() -> None:
    frame = table(when=[0] * 20 + [1] * 150 + [2] * 10 + [3] * 10 + [4] * 10)
    schema = infer_schema(frame, "y", time="when")
    numbers = fold_numbers(frame, schema, SplitConfig(folds=3))
    assert numbers.tolist() == [NEVER] * 170 + [0] * 10 + [1] * 10 + [2] * 10


class TestAColumnThatSaysTheParts:
    PART = ["train"] * 120 + ["validation"] * 30 + ["test"] * 50

    def test_its_test_rows_stay_aside_and_its_validation_rows_serve_every_fold(self) -> None:
        found = splits(table(part=self.PART), {"split": "part"}, column="part")
        for split in found:
            assert split.validation.tolist() == list(range(120, 150))
            assert np.array_equal(np.sort(np.concatenate((split.train, split.test))), np.arange(120))

    def test_without_validation_rows_they_are_split_off(self) -> None:
        part = ["train"] * 150 + ["test"] * 50
        for split in splits(table(part=part), {"split": "part"}, column="part", validation=0.25):
            assert (len(split.train), len(split.validation), len(split.test)) == (90, 30, 30)
            assert max(split.train.max(), split.validation.max(), split.test.max()) < 150

    def test_the_folds_follow_the_groups_if_there_are_some(self) -> None:
        frame = table(part=self.PART, who=[f"w{i // 8}" for i in range(N)])
        for split in splits(frame, {"group": "who", "split": "part"}, column="part"):
            assert not set(frame[split.train]["who"]) & set(frame[split.test]["who"])


@pytest.mark.parametrize(
    ("columns", "schema", "config", "said"),
    [
        ({"who": ["a", "b"] * 100}, {"group": "who"}, {}, r"There are 2 groups in 'who'; 5 folds need at least 5\."),
        (
            {"when": [i % 4 for i in range(N)]},
            {"time": "when"},
            {"folds": 3},
            r"There are 4 times in 'when'; 3 folds in time order need at least 5\.",
        ),
        ({}, {}, {"folds": 201}, r"There are 200 rows; 201 folds need at least 201\."),
        ({"who": ["a", "b"] * 100}, {"group": "who"}, {"folds": 2}, r"'who'.* has 1 different value; 2 parts need"),
    ],
)
def test_too_few_for_so_many_folds(
    columns: dict[str, Any], schema: dict[str, Any], config: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        splits(table(**columns), schema, **config)


def test_time_cannot_be_repeated() -> None:
    frame = table(when=list(range(N)))
    with pytest.raises(ConfigError, match=r"one way only: leave out `--repeats`"):
        split_fold(frame, infer_schema(frame, "y", time="when"), SplitConfig(folds=3, repeat=1))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"folds": 1}, r"`data\.split\.folds` is 1; it has to be at least 2"),
        ({"folds": 3, "fold": 3}, r"`data\.split\.fold` is 3; it has to be from 0 to below `data\.split\.folds` \(3\)"),
        ({"fold": 1}, r"`data\.split\.fold` is 1; .*\(None\)"),
        ({"folds": 3, "repeat": -1}, r"`data\.split\.repeat` is -1"),
    ],
)
def test_numbers_that_cannot_be(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SplitConfig(**config)
