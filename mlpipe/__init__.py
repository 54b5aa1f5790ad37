"""mlpipe: one config takes a table to a served Transformer.

Importing the package loads neither torch nor Lightning; the public names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlpipe.bundle.predictor import Predictor as Predictor
    from mlpipe.estimators import TransformerClassifier as TransformerClassifier
    from mlpipe.estimators import TransformerRegressor as TransformerRegressor
    from mlpipe.features.preprocessor import Preprocessor as Preprocessor
    from mlpipe.schema import Schema as Schema

__version__ = "0.1.0"

_LAZY = {
    "Predictor": "mlpipe.bundle.predictor",
    "Preprocessor": "mlpipe.features.preprocessor",
    "Schema": "mlpipe.schema",
    "TransformerClassifier": "mlpipe.estimators",
    "TransformerRegressor": "mlpipe.estimators",
}
__all__ = ["Predictor", "Preprocessor", "Schema", "TransformerClassifier", "TransformerRegressor", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
