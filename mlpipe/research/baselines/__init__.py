"""Honest baselines on the same rows, with the same metrics: what a neural model has to beat.

Notable:
- they read the features that mlpipe's preprocessing makes of the raw columns, dates and texts included, in the form
  that suits them; scaling and encoding on top of that, nulls and categories are each library's own matter;
- hyperparameters are the libraries' defaults: no baseline is tuned, and none is crippled;
- a label of a multilabel task is a binary problem of its own, for all of them;
- rows of the test part are never looked at before the last line.

prepared: the rows, and one target at a time. scikit, boosting, neural: a few lines per library, which is imported when
it is called. registry: their names. run: fit and measure. table, report: what comes out.
"""

from mlpipe.research.baselines.registry import BASELINES, INCLUDED
from mlpipe.research.baselines.run import OURS, iter_baselines, measure_run, run_baselines
from mlpipe.research.baselines.table import BaselineResult, render_table

__all__ = [
    "BASELINES",
    "INCLUDED",
    "OURS",
    "BaselineResult",
    "iter_baselines",
    "measure_run",
    "render_table",
    "run_baselines",
]
