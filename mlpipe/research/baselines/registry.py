"""Which baselines there are, what each reads, and which of them can run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.config import FeaturesConfig
from mlpipe.research.baselines.boosting import fit_catboost, fit_lightgbm, fit_xgboost
from mlpipe.research.baselines.neural import fit_ft_transformer, fit_realmlp, fit_tabm
from mlpipe.research.baselines.prepared import Fit
from mlpipe.research.baselines.scikit import (
    MOST_CATEGORIES,
    fit_hist_gradient_boosting,
    fit_linear,
    fit_most_frequent,
)

#: `plain`: raw numbers and dates, ids of categories; `few_categories`: the same, but columns with too many categories
#: for scikit-learn's trees as the target's (out-of-fold) mean by category; `quantile`: numbers as normal quantiles.
Form = Literal["plain", "few_categories", "quantile"]


@dataclass(frozen=True)
class Baseline:
    """A model to stand beside ours.

    Attributes:
        fit: Solves one problem.
        library: The module that the extra `mlpipe[baselines]` brings; None: it is always there.
        form: What it reads.
        takes_weights: Whether sample weights reach its fit; they always reach the metrics.
    """

    fit: Fit
    library: str | None = None
    form: Form = "plain"
    takes_weights: bool = True


#: By name, quick ones first.
BASELINES: dict[str, Baseline] = {
    "most_frequent": Baseline(fit_most_frequent),
    "linear": Baseline(fit_linear),
    "hist_gradient_boosting": Baseline(fit_hist_gradient_boosting, form="few_categories"),
    "lightgbm": Baseline(fit_lightgbm, "lightgbm"),
    "xgboost": Baseline(fit_xgboost, "xgboost"),
    "catboost": Baseline(fit_catboost, "catboost"),
    "realmlp": Baseline(fit_realmlp, "pytabkit", takes_weights=False),
    "tabm": Baseline(fit_tabm, "pytabkit", takes_weights=False),
    "ft_transformer": Baseline(fit_ft_transformer, "rtdl_revisiting_models", form="quantile"),
}
#: Those that need no extra.
INCLUDED = tuple(name for name, baseline in BASELINES.items() if baseline.library is None)


def features_for(form: Form, features: FeaturesConfig) -> FeaturesConfig:
    """The features of a config in another form: the same columns, dates, texts and target."""
    if form == "quantile":
        return replace(features, numeric="quantile", bins="none", neighbors="never")
    plain = replace(features, numeric="none", bins="none", neighbors="never")
    if form == "plain":
        return plain
    return replace(plain, high_cardinality="target", high_cardinality_threshold=MOST_CATEGORIES)


def check_names(names: Iterable[str], *others: str) -> None:
    """Refuse names that are no baseline's, nor one of the others.

    Raises:
        ConfigError: Names the closest one.
    """
    known = [*others, *BASELINES]
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no baseline {name!r}.{did_you_mean(name, known)}")


def absent(names: Iterable[str]) -> list[str]:
    """Those whose library is not installed."""
    libraries = {name: BASELINES[name].library for name in names}
    return [name for name, library in libraries.items() if library and importlib.util.find_spec(library) is None]


def absent_sentence(names: list[str]) -> str:
    """What to do about them.

    Examples:
        >>> absent_sentence(["tabm", "xgboost"])
        "Not installed, and left out: tabm, xgboost; `pip install 'mlpipe[baselines]'` brings them."
    """
    them = "it" if len(names) == 1 else "them"
    return f"Not installed, and left out: {', '.join(names)}; `pip install 'mlpipe[baselines]'` brings {them}."
