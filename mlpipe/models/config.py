"""`TransformerConfig`: every architectural choice as one plain, checked value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from mlpipe.checks import check_types
from mlpipe.errors import ConfigError, did_you_mean

#: The words each choice may be. The order is that of the documentation, not a ranking.
CHOICES: dict[str, tuple[str, ...]] = {
    "trunk": ("auto", "transformer", "mlp"),
    "gate": ("swiglu", "geglu", "reglu"),
    "numeric_embedding": ("linear", "ple", "periodic", "plr", "pbld"),
    "rope": ("none", "index"),
    "readout": ("all", "last"),
    "head": ("linear", "members"),
}

#: So many classes or labels are many, see `TransformerConfig.for_outputs`.
MANY_OUTPUTS = 10
#: Fewer training rows than this are few, see `TransformerConfig.for_rows`.
FEW_ROWS = 6_400
#: Keys whose values are whole numbers of at least 1.
COUNTS = (
    *("width", "num_layers", "num_heads", "num_frequencies", "readout_tokens", "members", "member_width"),
    "ensemble",
)


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a model; together with an `InputSpec` it fixes every weight's shape.

    Attributes:
        trunk: What stands between tokens and heads: `transformer`; or `mlp`, `members` MLPs side by side over the same
            tokens, end to end, which has no use for attention, position and readout tokens; `auto`: see `for_outputs`.
        width: Length D of a token; for the `transformer`, a multiple of `num_heads`.
        num_layers: Blocks of attention and gated MLP; hidden layers of the `mlp` trunk.
        num_heads: Attention heads.
        gate: Activation of the gated MLP: `swiglu`, `geglu` or `reglu` (Shazeer 2020). The `mlp` trunk has the same
            activation without a gate: SiLU, GELU or ReLU.
        mlp_ratio: Hidden width of the gated MLP as a multiple of `width`, rounded to a multiple of 16.
        numeric_embedding: How a number becomes a token: `linear`; `ple`, piecewise-linear over the bins of the
            `InputSpec` plus a linear term; `periodic`, sines and cosines; `plr`, the same behind a ReLU; `pbld`,
            cosines with phases plus a linear term.
        num_frequencies: Frequencies per number of the periodic embeddings.
        frequency_scale: Standard deviation of the frequencies at the start; too small is safe, too large hurts.
        rope: Rotary position: `index`, by the column's place in the table, or `none`.
        rope_base: Ratio of the slowest rotary wavelength to the fastest.
        readout_tokens: Tokens that gather the prediction. With the `linear` head each is a member of an ensemble.
        readout: When the readout tokens join: `all`, from the first block on; `last`, in the last block only.
        head: `linear`, each readout token through a linear map of its own; `members`, one readout token through
            `members` MLPs that share weights but for rank-one adapters (TabM, Gorishniy et al. 2024).
        members: Ensemble size of the `members` head and of the `mlp` trunk.
        member_width: Hidden width of a member, in the `members` head and in the `mlp` trunk.
        additive: Whether every column adds to the logits by itself too, beside the blocks of the `transformer`, which
            are then left with what columns say together; null: see `for_rows`.
        ensemble: Networks side by side in one model, each with members of its own; costs as many times as much.
        dropout: Share of the MLP's hidden units dropped while training.
        qk_norm: Normalise queries and keys.
        first_norm: Normalise the tokens before the first attention too; FT-Transformer's authors advise not to.

    Raises:
        ConfigError: A value is out of range or an unknown word; the sentence names the key.

    Examples:
        >>> TransformerConfig(width=32).hidden_width
        48
        >>> TransformerConfig.from_dict(TransformerConfig().to_dict()) == TransformerConfig()
        True
    """

    trunk: str = "auto"
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    gate: str = "swiglu"
    mlp_ratio: float = 4 / 3
    numeric_embedding: str = "ple"
    num_frequencies: int = 48
    frequency_scale: float = 0.01
    rope: str = "index"
    rope_base: float = 10_000.0
    readout_tokens: int = 16
    readout: str = "last"
    head: str = "linear"
    members: int = 8
    member_width: int = 256
    additive: bool | None = None
    ensemble: int = 1
    dropout: float = 0.2
    qk_norm: bool = False
    first_norm: bool = False

    def __post_init__(self) -> None:
        for key, options in CHOICES.items():
            value = getattr(self, key)
            if value not in options:
                hint = did_you_mean(value, options)
                raise ConfigError(f"model.{key} is {value!r}, which is none of its options.{hint}")
        for key in COUNTS:
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"model.{key} is {value!r}; it has to be a whole number of at least 1.")
        for key in ("mlp_ratio", "frequency_scale"):
            self._check_number(key, lambda value: 0 < value < math.inf, "a number above 0")
        self._check_number("rope_base", lambda value: 1 < value < math.inf, "a number above 1")
        self._check_number("dropout", lambda value: 0 <= value < 1, "at least 0 and less than 1")
        check_types(self, "model")  # what is left are the choices of yes or no
        if self.trunk != "mlp":
            self._check_heads()

    def _check_heads(self) -> None:
        if self.width % self.num_heads:
            raise ConfigError(
                f"model.width is {self.width}, which model.num_heads = {self.num_heads} does not divide; "
                f"{self.num_heads * max(1, round(self.width / self.num_heads))} would do."
            )
        if self.rope != "none" and self.head_width % 2:
            raise ConfigError(
                f"model.rope turns pairs of numbers, but model.width / model.num_heads = {self.head_width} is odd; "
                "choose an even ratio or rope: none."
            )

    def _check_number(self, key: str, allowed: Callable[[float], bool], right: str) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not allowed(value):
            raise ConfigError(f"model.{key} is {value!r}; it has to be {right}.")

    @property
    def head_width(self) -> int:
        """Length of one head's queries, keys and values."""
        return self.width // self.num_heads

    @property
    def hidden_width(self) -> int:
        """Hidden width of the gated MLP: a multiple of 16, so that vector registers and bf16 tiles are full."""
        return max(16, 16 * round(self.width * self.mlp_ratio / 16))

    @property
    def num_readouts(self) -> int:
        """Readout tokens in the sequence of one `Transformer`; the `members` head reads a single one."""
        return self.readout_tokens if self.head == "linear" else 1

    @property
    def num_members(self) -> int:
        """K, the ensemble members in the logits' shape (B, K, O)."""
        of_one_network = self.num_readouts if self.trunk != "mlp" and self.head == "linear" else self.members
        return self.ensemble * of_one_network

    def for_outputs(self, num_outputs: int) -> Self:
        """The config of a table, with `trunk: auto` decided by how many outputs there are.

        From `MANY_OUTPUTS` on it is the `mlp` trunk with tokens of a quarter of the width, of which its first layer
        sees all at once; else the `transformer`. `docs/recipe.md` has the measurements behind it.

        Examples:
            >>> [TransformerConfig().for_outputs(count).trunk for count in (1, 26)]
            ['transformer', 'mlp']
        """
        if self.trunk != "auto":
            return self
        if num_outputs < MANY_OUTPUTS:
            return replace(self, trunk="transformer")
        return replace(self, trunk="mlp", width=max(1, self.width // 4))

    def for_rows(self, num_rows: int) -> Self:
        """The config of a table of so many training rows, with `additive: null` decided.

        Below `FEW_ROWS` it is true: what a column says by itself is then learnt by a map that cannot learn rows by
        heart. With more rows the blocks learn it as well. `docs/recipe.md` has the measurements behind it.

        Examples:
            >>> [TransformerConfig().for_rows(count).additive for count in (1_000, 10_000)]
            [True, False]
        """
        return self if self.additive is not None else replace(self, additive=num_rows < FEW_ROWS)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; keys left out take their defaults.

        Raises:
            ConfigError: A key is unknown or a value is wrong.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"model.{key} is not a key of the model's configuration.{did_you_mean(key, known)}")
        return cls(**values)
