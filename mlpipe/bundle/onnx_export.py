"""The network as an ONNX graph, in float32 and with weights of 8 bits. Needs the extra `onnx`.

- The graph ends in the logits of every member, as `Transformer.forward` does: what follows is a few cheap operations,
  which one implementation then does for every backend, and a bundle's temperature stands in one place.
- The number of rows is free; columns, members and outputs are fixed.
- What of the network is known before any row comes is multiplied out (`mlpipe.bundle.folding`), where it can be: for 64
  rows of the flights that saves ONNX Runtime four tenths of the time.
- 8 bits (dynamic quantisation) are for those matrix products whose weights are one matrix; ONNX Runtime has no kernel
  for the batched ones. Activations are rounded as they come, on one scale for all rows of a batch: the answer for a row
  depends a little on the rows beside it.

Legend of the shapes: B rows, F numeric features, C categorical features, K members, O outputs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mlpipe.bundle.folded_graph import FoldedGraph
from mlpipe.bundle.folding import can_fold
from mlpipe.bundle.onnx_network import INPUTS, OUTPUT
from mlpipe.errors import ConfigError
from mlpipe.models import TableModel

if TYPE_CHECKING:
    import onnx

#: Of the operators, 2023: as new as ONNX Runtime 1.17, and old enough for what else reads ONNX.
OPSET = 20

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """See that what writes, runs and quantises graphs is installed; cheap.

    Raises:
        ConfigError: Says what to install.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed; `pip install 'mlpipe[onnx]'` brings what ONNX needs.")


def to_onnx(model: TableModel) -> bytes:
    """The network as an ONNX graph in float32; takes about ten seconds.

    Args:
        model: In evaluation mode, on the CPU.

    Returns:
        A serialised `ModelProto`: `numeric` float32 (rows, F), `missing` bool (rows, F) and `categorical` int32
        (rows, C) to `logits` float32 (rows, K, O). The same weights give the same bytes.
    """
    numeric, categorical = len(model.spec.numeric), len(model.spec.categorical)
    module = FoldedGraph(model) if can_fold(model) else model
    example = (  # two rows: a size of one would be taken for a constant
        torch.zeros(2, numeric),
        torch.zeros(2, numeric, dtype=torch.bool),
        torch.zeros(2, categorical, dtype=torch.int32),
    )
    # Named once: the exporter finds by itself that it is the same number for all.
    rows = ({0: "rows"}, {0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            input_names=INPUTS,
            output_names=(OUTPUT,),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=rows,
            verbose=False,
        )
    assert program is not None  # `dynamo=True` gives one
    proto = program.model_proto
    _forget_origin(proto)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def to_int8(graph: bytes) -> bytes:
    """A graph of `to_onnx` with weights of 8 bits, one scale for each output channel.

    Weights take 7 of the 8 bits (`reduce_range`): without the instructions of VNNI two products of full width overflow
    the 16 bits that they are added up in, and a bundle does not know on which processor it will run.

    Raises:
        ConfigError: There is no such product: those of `model.trunk: mlp` are batched.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quant_utils, quantize_dynamic

    proto = onnx.load_from_string(graph)
    matrices = {weight.name for weight in proto.graph.initializer if len(weight.dims) == 2}
    nodes = [node.name for node in proto.graph.node if node.op_type == "MatMul" and node.input[1] in matrices]
    if not nodes:  # which the library would take for all of them
        raise ConfigError(
            "The network has no product with weights of one matrix, which 8 bits are for; export it with --onnx alone."
        )
    # What torch exports has its shapes, and constants are folded; without the mark there is advice on the log to do so.
    quant_utils.add_pre_process_metadata(proto)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        quantize_dynamic(
            proto,
            out,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return out.read_bytes()


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Remove where each node comes from: paths of this machine, and most of the file's size."""
    graph = proto.graph
    parts: list[Any] = [proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Nothing is said about what a user cannot change."""

    def without_torchvision(record: logging.LogRecord) -> bool:  # whose operators no network of ours has
        return "torchvision is not installed" not in record.getMessage()

    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(without_torchvision)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies a tree by a name that it has given up itself.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        registration.removeFilter(without_torchvision)
