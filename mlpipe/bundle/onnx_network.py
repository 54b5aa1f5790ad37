"""The network of a bundle, run by ONNX Runtime. Needs the extra `onnx`; nothing of it is imported before it is used."""

from __future__ import annotations

import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.models import TableModel

#: Names of a graph's inputs, in the order of `Transformer.forward`, and of its output.
INPUTS, OUTPUT = ("numeric", "missing", "categorical"), "logits"

_ERRORS_ONLY = 3


class OnnxNetwork:
    """A `Network` of a graph that `mlpipe.bundle.onnx_export` wrote.

    It runs on as many threads as torch does when it is made: one in a server's worker, the machine's elsewhere.

    Args:
        graph: The graph.
        model: The network that it is to be, in torch.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: It is no graph, or one of another network.
    """

    def __init__(self, graph: bytes, model: TableModel) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as ort

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that wait for work by spinning take the cores from whatever makes the next rows.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (
            ort.Fail,
            ort.InvalidArgument,
            ort.InvalidGraph,
            ort.InvalidProtobuf,
            ort.NotImplemented,
            ort.RuntimeException,
        ) as error:
            raise ValueError(f"ONNX Runtime cannot load it: {error}") from error
        found = {value.name: (value.type, value.shape[1:]) for value in self._session.get_inputs()}
        found |= {value.name: (value.type, value.shape[1:]) for value in self._session.get_outputs()}
        numeric, categorical = len(model.spec.numeric), len(model.spec.categorical)
        expected = {
            "numeric": ("tensor(float)", [numeric]),
            "missing": ("tensor(bool)", [numeric]),
            "categorical": ("tensor(int32)", [categorical]),
            OUTPUT: ("tensor(float)", [model.config.num_members, model.spec.num_outputs]),
        }
        if found != expected:
            raise ValueError(f"it has {found}, but the network has {expected}")

    def __call__(self, arrays: Arrays) -> Tensor:
        """See `Network`."""
        (logits,) = self._session.run([OUTPUT], {name: getattr(arrays, name) for name in INPUTS})
        return torch.from_numpy(logits)
