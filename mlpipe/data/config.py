"""The `data` group of a config: which file, which target, which rows for what."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlpipe.checks import check_types
from mlpipe.data.options import ReadOptions
from mlpipe.data.split import SplitConfig
from mlpipe.data.target import check_task
from mlpipe.errors import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """Where the table is and what to make of it.

    Args:
        target: Name of the column to predict; several for multilabel; `first` or `last` by position.
        path: One file, glob or URL which is split into train, validation and test as `split` says.
        train: A file of its own for the training rows, instead of `path`.
        validation: A file of its own for the validation rows; without it they are split off the training file.
        test: A file of its own for the test rows; without it they are split off too.
        task: binary, multiclass, multilabel or regression; null: inferred from the target.
        read: How the files are to be read; null fields are detected.
        split: How rows are split.
        columns: Kind by column name (numeric, categorical, boolean, date, datetime, duration, text), or `ignore`,
            or `identifier`, where the inferred kind is not wanted.
        time: The column that orders the rows; makes the split a cut in time.
        group: The column that names an entity; all rows of one entity stay on one side of the split.
        weight: The column with sample weights.
        target_map: Labels to rename before use, for example `{"<=50K.": "<=50K"}`.
        batch_size: Rows per training step, on all devices together; null: by the number of training rows, from 32 to
            1024.
        eval_batch_size: Rows per step when nothing is learnt.
    """

    target: str | list[str]
    path: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    task: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    split: SplitConfig = field(default_factory=SplitConfig)
    columns: dict[str, str] = field(default_factory=dict)
    time: str | None = None
    group: str | None = None
    weight: str | None = None
    target_map: dict[str, str] | None = None
    batch_size: int | None = None
    eval_batch_size: int = 4096

    def __post_init__(self) -> None:
        check_types(self, "data")
        if (self.path is None) == (self.train is None):
            raise ConfigError("Give either `data.path` (one file, to be split) or `data.train` (files of their own).")
        if self.path is not None and (self.validation or self.test):
            raise ConfigError("`data.validation` and `data.test` go with `data.train`; `data.path` is split by rows.")
        check_task(self.task)
        for name in ("batch_size", "eval_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`data.{name}` is {value}; it has to be at least 1.")


def default_batch_size(num_rows: int) -> int:
    """Rows per training step by the number of training rows, after TabM (Gorishniy et al. 2025).

    Examples:
        >>> default_batch_size(1_000), default_batch_size(26_048), default_batch_size(300_000)
        (32, 256, 1024)
    """
    for limit, size in ((2_800, 32), (4_500, 64), (6_400, 128), (32_000, 256), (108_000, 512)):
        if num_rows < limit:
            return size
    return 1024
