"""The graphs of `mlpipe export --onnx --int8`, each tried on rows that the model was not trained on before it ships."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.bundle.export import RunContents
from mlpipe.bundle.format import BundleContents
from mlpipe.bundle.manifest import GRAPHS
from mlpipe.bundle.network import TorchNetwork
from mlpipe.bundle.onnx_export import to_int8, to_onnx
from mlpipe.bundle.onnx_network import OnnxNetwork
from mlpipe.bundle.parity import METRIC_TOLERANCE, TOLERANCES, differences, made_up_rows, run_network
from mlpipe.commands.evaluation import labelled_rows
from mlpipe.errors import BundleError, DataError, how_many
from mlpipe.training.metrics import HIGHER_IS_BETTER
from mlpipe.training.outcome import Objective, measure
from mlpipe.training.parser import config_from_file
from mlpipe.training.rundir import open_run

logger = logging.getLogger(__name__)

_MADE_UP_ROWS = 1_024


def make_graphs(run_dir: Path, contents: RunContents | BundleContents, *, int8: bool) -> dict[str, bytes]:
    """The network of a run as graphs, by backend; prints how near their answers are to torch's.

    Args:
        run_dir: The run, whose validation rows are predicted. If they cannot be read any more, made-up rows are.
        contents: What it has come to.
        int8: Whether there is to be a graph with weights of 8 bits too.

    Raises:
        BundleError: An answer, or the run's metric, differs by more than `mlpipe.bundle.parity` allows.
    """
    graphs = {"onnx": to_onnx(contents.model)}
    if int8:
        graphs["int8"] = to_int8(graphs["onnx"])
    config = config_from_file(open_run(run_dir).config)
    metric = Objective.of(config.training, contents.schema.task.kind).metric
    rows = _validation_rows(run_dir, contents)
    logits = run_network(TorchNetwork(contents.model), rows)
    for name, graph in graphs.items():
        found = run_network(OnnxNetwork(graph, contents.model), rows)
        _check(name, run_dir, contents, rows, logits, found, metric)
    return graphs


def _validation_rows(run_dir: Path, contents: RunContents | BundleContents) -> Arrays:
    """The run's validation rows; without a target if they are made up."""
    directory = open_run(run_dir)
    try:
        frame, _ = labelled_rows(directory, config_from_file(directory.config), None, "validation")
        return contents.preprocessor.transform(frame, with_target=True)
    except DataError as error:
        logger.warning(
            "The run's validation rows cannot be read (%s) The graphs are checked on made-up rows, without a metric.",
            error,
        )
        return made_up_rows(contents.model.spec, _MADE_UP_ROWS)


def _check(
    name: str,
    run_dir: Path,
    contents: RunContents | BundleContents,
    rows: Arrays,
    expected: Tensor,
    found: Tensor,
    metric: str,
) -> None:
    """Print how far the logits that were found are from those expected.

    Raises:
        BundleError: It is too far.
    """
    kind, calibration, file = contents.schema.task.kind, contents.calibration, GRAPHS[name]
    difference = float(differences(found, expected, kind, calibration.temperature).max())
    most = TOLERANCES[name]
    if not difference <= most:
        raise BundleError(
            f"{file} of {str(run_dir)!r} would give answers that differ from torch's by up to {difference:.2g}, more "
            f"than the {most:g} that is allowed; export without --{name}."
        )
    where = how_many(len(rows), "validation row" if rows.target is not None else "made-up row")
    told = f"{file}: answers differ from torch's by at most {difference:.2g} ({most:g} is allowed) on {where}"
    if rows.target is not None:
        before, after = (
            measure(logits, rows, contents.preprocessor.target_, calibration)[metric] for logits in (expected, found)
        )
        worse = before - after if HIGHER_IS_BETTER[metric] else after - before
        if worse > METRIC_TOLERANCE * abs(before):
            raise BundleError(
                f"{file} of {str(run_dir)!r} would make {metric} {after:.5g} on the validation rows instead of "
                f"{before:.5g}, more than {METRIC_TOLERANCE:.0%} worse; export without --{name}."
            )
        told += f"; {metric} {after:.6g} instead of {before:.6g}"
    print(f"{told}.")
