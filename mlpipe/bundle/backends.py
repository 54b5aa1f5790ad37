"""What runs the networks of a bundle, by name: `torch`, `onnx`, `int8`, or `auto`, which measures.

A graph is never taken on trust: its hash has been checked, and before it answers anyone it has to give what the weights
give in torch, on average over rows that are made up, within `mlpipe.bundle.parity.TOLERANCES`. That finds a graph of
other weights, and a processor that adds up 8-bit products otherwise than the one of the export.

`auto` chooses between backends that agree to 1e-4 or so, for few rows and for many by themselves: nobody can tell from
an answer which one it was, and the workers of a server need not choose alike. `int8` rounds, which is for a person to
decide: it has to be asked for.

In torch the network is folded where it can be (`mlpipe.bundle.folding`), which is tried like a graph.

Not among them: `torch.compile`. It takes a C++ compiler where the bundle runs, and a minute at the start, to end up
behind ONNX Runtime for few rows; and its compiled files are code, which a bundle does not hold.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.bundle.folded_network import FoldedNetwork
from mlpipe.bundle.folding import can_fold
from mlpipe.bundle.format import BundleContents
from mlpipe.bundle.manifest import GRAPHS, refuse
from mlpipe.bundle.network import Network, TorchNetwork
from mlpipe.bundle.onnx_network import OnnxNetwork
from mlpipe.bundle.parity import TOLERANCES, differences, made_up_rows
from mlpipe.errors import BundleError, how_many

#: Rows at which `auto` measures: a request alone, a few, a full micro-batch, a large body.
SIZES = (1, 8, 64, 512)
_ROUNDS = 9
_CHECKED_ROWS = 64


@dataclass(frozen=True)
class Backend:
    """What runs a bundle's networks.

    Attributes:
        name: `torch`, `onnx` or `int8`; several of them, from few rows to many, are joined by a plus.
        networks: One for each model of the bundle.
        reason: Why it was chosen, in a sentence; empty if there was no choice.
    """

    name: str
    networks: tuple[Network, ...]
    reason: str = ""


class BySize:
    """A `Network` that leaves each batch to the one that was fastest for as many rows.

    Args:
        networks: The network for each of `SIZES`; it gets the batches from that size up to the next.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def __call__(self, arrays: Arrays) -> Tensor:
        """See `Network`."""
        return self._networks[max(bisect_right(SIZES, len(arrays)) - 1, 0)](arrays)


def open_backend(models: Sequence[BundleContents], name: str) -> Backend:
    """The backend of a name, tried.

    Args:
        models: The models of a bundle, at least one.
        name: One of `mlpipe.bundle.manifest.BACKENDS`.

    Raises:
        BundleError: A model has no such graph, the graph is not what it should be, or ONNX Runtime is not installed.
    """
    if name == "torch":
        return _in_torch(models)
    if name in GRAPHS:
        return Backend(name, tuple(_graph(model, name) for model in models))
    in_torch = _in_torch(models)
    if not all("onnx" in model.graphs for model in models):
        return in_torch
    try:
        graphs = tuple(_graph(model, "onnx") for model in models)
    except BundleError as error:
        return replace(in_torch, reason=f"Backend torch: {error}")
    return _fastest(models, {"torch": in_torch.networks, "onnx": graphs})


def _in_torch(models: Sequence[BundleContents]) -> Backend:
    """The networks folded, those that can be and then give what the weights give; the others as they were trained."""
    networks: list[Network] = []
    reason = ""
    for contents in models:
        network: Network = TorchNetwork(contents.model)
        if can_fold(contents.model):
            folded = FoldedNetwork(contents.model)
            difference = _difference(contents, folded)
            if difference <= TOLERANCES["torch"]:
                network = folded
            else:
                reason = f"Backend torch runs as trained: folded, it would give other answers (by {difference:.2g})."
        networks.append(network)
    return Backend("torch", tuple(networks), reason)


def _difference(contents: BundleContents, network: Network) -> float:
    """By how much a network's answers differ from those of the weights in torch, on average over rows made up."""
    rows = made_up_rows(contents.model.spec, _CHECKED_ROWS)
    kind, temperature = contents.schema.task.kind, contents.calibration.temperature
    return float(differences(network(rows), TorchNetwork(contents.model)(rows), kind, temperature).mean())


def _graph(contents: BundleContents, name: str) -> Network:
    """A graph that gives what the weights give.

    Raises:
        BundleError: See `open_backend`.
    """
    file = GRAPHS[name]
    if name not in contents.graphs:
        raise BundleError(
            f"Bundle {str(contents.folder)!r} has no {file}; `mlpipe export --{name}` writes a bundle that has."
        )
    try:
        network = OnnxNetwork(contents.graphs[name], contents.model)
    except ModuleNotFoundError:
        refuse(contents.folder, file, "needs ONNX Runtime: `pip install 'mlpipe[onnx]'` brings it")
    except ValueError as error:
        refuse(contents.folder, file, f"cannot be used ({error})")
    found = _difference(contents, network)
    if not found <= TOLERANCES[name]:
        refuse(contents.folder, file, f"gives other answers than the weights (by {found:.2g}); export the bundle anew")
    return network


def _fastest(models: Sequence[BundleContents], backends: Mapping[str, Sequence[Network]]) -> Backend:
    """For each of `SIZES` the backend whose networks together were fastest, at their best of some rounds in turn."""
    batches = [[made_up_rows(model.model.spec, size) for size in SIZES] for model in models]

    def seconds(networks: Sequence[Network], place: int) -> float:
        started = time.perf_counter()
        for network, own in zip(networks, batches, strict=True):
            network(own[place])
        return time.perf_counter() - started

    chosen, told = [], []
    for place, size in enumerate(SIZES):
        for networks in backends.values():
            seconds(networks, place)  # the first batch of a shape is slow
        rounds = [{name: seconds(networks, place) for name, networks in backends.items()} for _ in range(_ROUNDS)]
        best = {name: min(one[name] for one in rounds) for name in backends}
        chosen.append(min(best, key=best.__getitem__))
        told.append(
            f"{how_many(size, 'row')}: " + ", ".join(f"{name} {1e3 * taken:.2f} ms" for name, taken in best.items())
        )
    networks = tuple(BySize([backends[name][index] for name in chosen]) for index in range(len(models)))
    name = "+".join(dict.fromkeys(chosen))
    return Backend(name, networks, f"Backend {name}; measured: {'; '.join(told)}.")
