"""`Calibration`: what is fitted on the validation rows once the network is trained, and how outputs become answers.

It is a file of the run (`calibration.json`) and a part of every bundle, so that training, scoring and the server answer
alike.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError
from mlpipe.schema import InputSpec, reject_unknown_keys

Floats = npt.NDArray[np.floating[Any]]

#: Above this probability the answer is yes, where nobody has reason to say otherwise.
EVEN = 0.5


@dataclass(frozen=True)
class Interval:
    """How a number's interval is made of the network's outputs.

    Attributes:
        level: Share of rows whose target it is to hold, such as 0.9.
        margin: In standardised units. Around a single value, on both sides; around quantiles, what is added to both
            ends, which is negative where they were too wide.
        quantiles: The network has three outputs: the lower quantile, the median and the upper one.

    Raises:
        ConfigError: A value is out of range.

    Examples:
        >>> Interval(0.9, margin=2.0).around(np.array([[1.0]]))
        array([[ 1., -1.,  3.]])
        >>> Interval(0.9, margin=0.5, quantiles=True).around(np.array([[-1.0, 0.0, 4.0]]))
        array([[ 0. , -1.5,  4.5]])
    """

    level: float
    margin: float = 0.0
    quantiles: bool = False

    def __post_init__(self) -> None:
        if not _is_number(self.level) or not 0 < self.level < 1:
            raise ConfigError(f"The interval's level is {self.level!r}; it has to be above 0 and below 1.")
        if not _is_number(self.margin) or not (self.quantiles or self.margin >= 0):
            raise ConfigError(f"The interval's margin is {self.margin!r}, which is no width.")

    def around(self, outputs_TO: Floats) -> npt.NDArray[np.float64]:
        """The value, its lower and its upper bound, (T, 3); the value is never outside.

        Args:
            outputs_TO: (T, 1) values, or (T, 3) ascending quantiles.
        """
        outputs = outputs_TO.astype(np.float64)
        low_T, value_T, high_T = (outputs[:, column] for column in ((0, 1, 2) if self.quantiles else (0, 0, 0)))
        lower_T, upper_T = np.minimum(low_T - self.margin, value_T), np.maximum(high_T + self.margin, value_T)
        return np.stack((value_T, lower_T, upper_T), axis=1)


@dataclass(frozen=True)
class Calibration:
    """What makes answers of a network's outputs.

    Attributes:
        temperature: The logits of a classification are divided by it before they become probabilities.
        threshold: Binary: the answer is the second class where its probability is above this.
        interval: Regression with an interval; None: without.

    Raises:
        ConfigError: A value is out of range.

    Examples:
        >>> Calibration.from_dict(Calibration(1.5, interval=Interval(0.9, 0.1)).to_dict())
        Calibration(temperature=1.5, threshold=0.5, interval=Interval(level=0.9, margin=0.1, quantiles=False))
    """

    temperature: float = 1.0
    threshold: float = EVEN
    interval: Interval | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or self.temperature <= 0:
            raise ConfigError(f"The temperature is {self.temperature!r}; it has to be a positive number.")
        if not _is_number(self.threshold) or not 0 < self.threshold < 1:
            raise ConfigError(f"The threshold is {self.threshold!r}; it has to be above 0 and below 1.")

    @property
    def level(self) -> float | None:
        """The interval's, if there is one."""
        return None if self.interval is None else self.interval.level

    def network_spec(self, spec: InputSpec) -> InputSpec:
        """What a network reads and gives, from what its preprocessing says: quantiles are three outputs, not one."""
        return spec if self.interval is None or not self.interval.quantiles else replace(spec, num_outputs=3)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; keys left out take their defaults.

        Raises:
            MlpipeError: A key is unknown or a value is wrong.
        """
        reject_unknown_keys(values, cls, "calibration")
        interval = values.get("interval")
        if interval is not None:
            reject_unknown_keys(interval, Interval, "calibration.interval")
        return cls(**{**values, "interval": None if interval is None else Interval(**interval)})


def is_yes(p_T: Floats, threshold: float = EVEN) -> npt.NDArray[np.bool_]:
    """Whether the answer is the second class of a binary task, or a label of a multilabel one.

    In float64: a threshold between two neighbouring float32 probabilities must not be rounded onto either.
    """
    above: npt.NDArray[np.bool_] = p_T.astype(np.float64) > threshold
    return above


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
