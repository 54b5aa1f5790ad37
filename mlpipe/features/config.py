"""The `features` group of a config: how columns become arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mlpipe.checks import check_types
from mlpipe.errors import ConfigError, did_you_mean

#: Calendar parts that can be asked for; `elapsed` seconds are always there.
DATETIME_PARTS = ("year", "month", "day", "day_of_year", "weekday", "hour", "minute")


@dataclass(frozen=True)
class FeaturesConfig:
    """How columns become arrays.

    Args:
        numeric: Scaling of numbers: `quantile` to a normal distribution, `robust` (median, quartiles and a smooth
            clip), `standard` (mean and standard deviation), or `none`.
        quantile_noise: Noise on the training values when quantiles are fitted, in standard deviations; it spreads
            equal values, so that a value that fills many quantiles lands in their middle. 0: no noise.
        bins: Edges of the piecewise-linear encoding: `tempered` (quantiles in which a value that occurs n times
            counts as the square root of n), `quantile`, `tree` (thresholds of a decision tree on the target), or
            `none`.
        num_bins: Most bins per number.
        min_frequency: Categories seen less often share one id with those never seen.
        max_categories: The most frequent categories get an id of their own, no more than so many.
        high_cardinality: What becomes of a column with more categories than `high_cardinality_threshold`: `embed`
            (a vocabulary all the same), `hash` (hashed into `hash_buckets` ids), or `target` (mean of the target
            by category, out of fold).
        high_cardinality_threshold: More categories than this are many.
        hash_buckets: Ids of a hashed column.
        target_smoothing: Target encoding: rows of the overall mean that are mixed into each category's mean.
        target_folds: Target encoding: folds for the training rows.
        integer_categories: Numbers that are whole and have at most so many distinct values are given as a category
            too. 0: none.
        datetime_parts: Calendar parts of a date or time, beside the seconds elapsed; those that do not vary are
            left out.
        text_features: Width of the hashed n-grams of one text.
        neighbors: The targets of similar training rows as features: `auto`, if a quick model gains from them and the
            data have neither group nor time; `always`; or `never`. The preprocessing then holds rows of the training
            table, and so does every bundle.
        neighbor_rows: Most training rows kept for them.
        target_transform: `log` models log(1 + target) of a regression target that is not negative.
        seed: Of the noise, the samples and the folds.
    """

    numeric: Literal["quantile", "robust", "standard", "none"] = "quantile"
    quantile_noise: float = 1e-5
    bins: Literal["tempered", "quantile", "tree", "none"] = "tempered"
    num_bins: int = 48
    min_frequency: int = 1
    max_categories: int = 10_000
    high_cardinality: Literal["embed", "hash", "target"] = "embed"
    high_cardinality_threshold: int = 1_000
    hash_buckets: int = 1_024
    target_smoothing: float = 20.0
    target_folds: int = 5
    integer_categories: int = 0
    datetime_parts: list[str] = field(default_factory=lambda: ["day_of_year", "weekday", "hour", "minute"])
    text_features: int = 64
    neighbors: Literal["auto", "always", "never"] = "auto"
    neighbor_rows: int = 16_384
    target_transform: Literal["none", "log"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "numeric": ("quantile", "robust", "standard", "none"),
            "bins": ("tempered", "quantile", "tree", "none"),
            "high_cardinality": ("embed", "hash", "target"),
            "neighbors": ("auto", "always", "never"),
            "target_transform": ("none", "log"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"`features.{name}` is {value!r}.{did_you_mean(str(value), allowed)}")
        check_types(self, "features")
        for part in self.datetime_parts:
            if part not in DATETIME_PARTS:
                raise ConfigError(f"`features.datetime_parts`: {part!r}.{did_you_mean(part, DATETIME_PARTS)}")
        least = {
            "num_bins": 2,
            "min_frequency": 1,
            "max_categories": 1,
            "hash_buckets": 2,
            "text_features": 2,
            "neighbor_rows": 2,
        }
        least |= {"target_folds": 2, "quantile_noise": 0, "target_smoothing": 0, "integer_categories": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"`features.{name}` is {getattr(self, name)}; it has to be at least {bound}.")
