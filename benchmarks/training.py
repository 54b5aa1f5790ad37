"""Rows per second in training: through the Trainer, in a bare loop, and beside two FT-Transformers of equal size.

    python benchmarks/training.py [--rounds 5] [--steps 40] [--no-compile] [--peer-python PYTHON]

A synthetic table of 10 numbers and 4 categories, batches of 512, width 64, 2 blocks, 4 heads. All contestants take
turns, round by round, so that a machine that slows down slows all of them; ratios are medians over the rounds. The bare
loop does what the Trainer does with the shipped recipe (seeding, clipping, average of the weights, check of the loss).
rtdl's FT-Transformer (package rtdl_revisiting_models) runs in a plain AdamW loop; pytorch_tabular's, which does not
install beside this package, in the same loop under the interpreter of another environment (`--peer-python`, after
`pip install pytorch_tabular==1.2.0 requests` there). Beside it stands what the processor reaches in plain matrix
products. Writes results/training.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from processor import processor
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from training_peers import BATCH, CATEGORIES, NUMBERS, WARMUP, Contestant, in_turn, pytorch_tabular, rtdl

from mlpipe.arrays import Arrays
from mlpipe.data.batches import Batch, TensorBatches
from mlpipe.memory import keep_freed_memory
from mlpipe.models import Transformer, TransformerConfig, member_loss
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature, TaskKind
from mlpipe.training.callbacks import EMAWeights, ReproducibleSteps, StopOnNonFiniteLoss
from mlpipe.training.config import TrainingConfig
from mlpipe.training.module import TabularModule
from mlpipe.training.optim import build_optimizer, warmup_cosine_schedule
from mlpipe.training.quiet import quiet_lightning

HERE = Path(__file__).resolve().parent
EDGES = tuple(np.linspace(-2.5, 2.5, 49).tolist())
SPEC = InputSpec(
    tuple(NumericFeature(f"x{i}", f"x{i}", bins=EDGES) for i in range(NUMBERS)),
    tuple(CategoricalFeature(f"c{i}", f"c{i}", size) for i, size in enumerate(CATEGORIES)),
    num_outputs=1,
)
#: Heads of the results' columns of ratios, by what they are ratios to.
PEERS = {"rtdl": "rtdl FT-Transformer", "pytorch_tabular": "pytorch_tabular FTTransformer"}


def table(rows: int) -> Arrays:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(rows, NUMBERS)).astype(np.float32)
    categories = np.stack([rng.integers(3, size, size=rows) for size in CATEGORIES], axis=1).astype(np.int32)
    target = (numeric[:, 0] + numeric[:, 1] * (categories[:, 0] == 3)).astype(np.float32)
    return Arrays(numeric, np.zeros_like(numeric, dtype=bool), categories, target)


class Data(L.LightningDataModule):
    """The synthetic table, for the Trainer."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.arrays = arrays

    def train_dataloader(self) -> TensorBatches:
        return TensorBatches(self.arrays, BATCH, shuffle=True)


class Stopwatch(L.Callback):
    """Seconds of the steps after the warm-up."""

    started = seconds = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == WARMUP:
            self.started = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.started


def ours(arrays: Arrays, *, precision: str = "32-true", compiled: bool = False, model: dict[str, Any]) -> Contestant:
    """The module in a bare loop that does what the recipe does."""
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(**model), SPEC)
    training = TrainingConfig().at_batch_size(BATCH)
    optimizer = build_optimizer(net, training, fused=True)
    scheduler = warmup_cosine_schedule(optimizer, 100_000, 0.05, 0.0)
    forward = torch.compile(net.forward, fullgraph=True) if compiled else net
    parameters = list(net.parameters())
    averages = [p.detach().clone() for p in parameters]
    batches = TensorBatches(arrays, BATCH, shuffle=True)

    def step(batch: Batch, number: int) -> None:
        torch.manual_seed(number)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = forward(batch.numeric, batch.missing, batch.categorical)
            assert batch.target is not None
            loss = member_loss(logits, batch.target, TaskKind.REGRESSION)
        if not torch.isfinite(loss):
            raise RuntimeError("the loss is not finite")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        torch._foreach_lerp_(averages, [p.detach() for p in parameters], 0.01)

    return lambda steps: in_turn(batches, step, steps)


def trainer(arrays: Arrays, *, precision: str, model: dict[str, Any]) -> Contestant:
    """The module through Lightning's Trainer with the recipe's callbacks."""

    def run(steps: int) -> float:
        torch.manual_seed(0)
        module = TabularModule(
            TransformerConfig(**model), SPEC, TaskKind.REGRESSION, TrainingConfig().at_batch_size(BATCH)
        )
        watch = Stopwatch()
        with quiet_lightning(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*validation_step.*")
            runner = L.Trainer(
                max_steps=steps + WARMUP,
                max_epochs=100,
                precision=precision,  # type: ignore[arg-type]  # one of Lightning's words
                gradient_clip_val=1.0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[ReproducibleSteps(0), StopOnNonFiniteLoss(), EMAWeights(0.99), watch],
            )
            runner.fit(module, datamodule=Data(arrays))
        return steps * BATCH / watch.seconds

    return run


def matmul_ceiling(dtype: torch.dtype, size: int = 1024, repeats: int = 20) -> float:
    """GFLOP/s of a plain matrix product."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    a @ b
    started = time.perf_counter()
    for _ in range(repeats):
        a @ b
    return 2 * size**3 * repeats / (time.perf_counter() - started) / 1e9


def flops_per_row(model: dict[str, Any], arrays: Arrays) -> float:
    """Floating-point operations of the matrix products of one row, forward and backward."""
    net = Transformer(TransformerConfig(**model), SPEC)
    batch = next(iter(TensorBatches(arrays, BATCH)))
    with FlopCounterMode(display=False) as counter:
        net(batch.numeric, batch.missing, batch.categorical).sum().backward()
    return float(counter.get_total_flops()) / BATCH


def contestants(arrays: Arrays, *, compiled: bool, peer_python: str | None) -> dict[str, Contestant]:
    """All that take turns, by the names that the results give them."""
    found: dict[str, Contestant] = {
        "mlpipe, bare loop": ours(arrays, model={}),
        "mlpipe, Trainer": trainer(arrays, precision="32-true", model={}),
        "rtdl FT-Transformer": rtdl(arrays),
        "mlpipe, bare loop, bf16": ours(arrays, precision="bf16-mixed", model={}),
        "mlpipe, Trainer, bf16": trainer(arrays, precision="bf16-mixed", model={}),
        "mlpipe, 1 readout token, bare loop": ours(arrays, model={"readout_tokens": 1}),
    }
    if compiled:
        found |= {
            "mlpipe, bare loop, compiled": ours(arrays, compiled=True, model={}),
            "mlpipe, bare loop, bf16, compiled": ours(arrays, precision="bf16-mixed", compiled=True, model={}),
        }
    if peer_python:
        found["pytorch_tabular FTTransformer"] = pytorch_tabular(peer_python)
    return found


def measure(runs: Mapping[str, Contestant], rounds: int, steps: int) -> dict[str, Any]:
    """Rows per second of each contestant in each round, and what the processor reaches beside them."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    ceilings: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for run in runs.values():
        run(2)  # compile, allocate
    for number in range(rounds):
        for name, run in runs.items():
            rates[name].append(run(steps))
        ceilings["float32"].append(matmul_ceiling(torch.float32))
        ceilings["bfloat16"].append(matmul_ceiling(torch.bfloat16))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return {"rows_per_second": rates, "matmul_gflops": ceilings}


def as_markdown(record: Mapping[str, Any]) -> str:
    """Medians, ratios within a round to each peer that was there, and the Trainer's share of the bare loop."""
    rates: Mapping[str, list[float]] = record["rows_per_second"]
    ceilings: Mapping[str, list[float]] = record["matmul_gflops"]

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))

    peers = {short: name for short, name in PEERS.items() if name in rates}
    heads = ["contestant", "rows/s, median", *(f"× {short}" for short in peers), "matrix-product GFLOP/s"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, measured in rates.items():
        rate = statistics.median(measured)
        default = name.startswith("mlpipe, ") and "1 readout" not in name
        reached = f"{rate * record['flops_per_row'] / 1e9:.0f}" if default else ""
        cells = [name, f"{rate:,.0f}", *(f"{ratio(name, peer):.2f}" for peer in peers.values()), reached]
        lines.append(f"| {' | '.join(cells)} |")
    overhead = [ratio(f"mlpipe, Trainer{kind}", f"mlpipe, bare loop{kind}") for kind in ("", ", bf16")]
    products = [statistics.median(ceilings[dtype]) for dtype in ("float32", "bfloat16")]
    lines.append(
        f"\nTrainer against the bare loop: {overhead[0]:.3f} in float32, {overhead[1]:.3f} in bf16-mixed. "
        f"Matrix products of 1024 x 1024 on {record['threads']} threads: {products[0]:.0f} GFLOP/s in float32, "
        f"{products[1]:.0f} in bfloat16. Medians of {len(rates['mlpipe, Trainer'])} rounds in turn, on "
        f"{record['processor']}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled contestants out")
    parser.add_argument("--peer-python", help="interpreter of an environment with pytorch_tabular")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    keep_freed_memory()  # as `mlpipe.training.loop.train` does; all contestants, the peers too, run under it
    arrays = table(200 * BATCH)
    runs = contestants(arrays, compiled=not args.no_compile, peer_python=args.peer_python)
    record = measure(runs, args.rounds, args.steps) | {
        "flops_per_row": flops_per_row({}, arrays),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": processor(),
    }
    print(as_markdown(record))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (args.results / "training.md").write_text(as_markdown(record))


if __name__ == "__main__":
    main()
