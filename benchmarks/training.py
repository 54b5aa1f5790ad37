"""Rows per second in training: through the Trainer, in a bare loop, and beside two FT-Transformers of equal size.

    python benchmarks/training.py [--rounds 5] [--steps 40] [--no-compile] [--peer-python PYTHON]

A synthetic table of 10 numbers and 4 categories, batches of 512, width 64, 2 blocks, 4 heads. All contestants take
turns, round by round, so that a machine that slows down slows all of them; ratios are medians over the rounds. The bare
loop does what the Trainer does with the shipped recipe (seeding, clipping, average of the weights, check of the loss).
rtdl's FT-Transformer (package rtdl_revisiting_models) runs in a plain AdamW loop; pytorch_tabular's, which does not
install beside this package, in the same loop under an interpreter of its own (`--peer-python`). Beside it stands what
the processor reaches in plain matrix products. Writes results/training.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from processor import processor
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mlpipe.arrays import Arrays
from mlpipe.data.batches import Batch, TensorBatches
from mlpipe.memory import KEPT, MAPPED_ABOVE, keep_freed_memory
from mlpipe.models import Transformer, TransformerConfig, member_loss
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature, TaskKind
from mlpipe.training.callbacks import EMAWeights, ReproducibleSteps, StopOnNonFiniteLoss
from mlpipe.training.config import TrainingConfig
from mlpipe.training.loop import quiet_lightning
from mlpipe.training.module import TabularModule
from mlpipe.training.optim import build_optimizer, warmup_cosine_schedule

HERE = Path(__file__).resolve().parent
NUMBERS, CATEGORIES, BATCH, WARMUP = 10, [4, 10, 40, 120], 512, 5
EDGES = tuple(np.linspace(-2.5, 2.5, 49).tolist())
SPEC = InputSpec(
    tuple(NumericFeature(f"x{i}", f"x{i}", bins=EDGES) for i in range(NUMBERS)),
    tuple(CategoricalFeature(f"c{i}", f"c{i}", size) for i, size in enumerate(CATEGORIES)),
    num_outputs=1,
)
#: Runs a number of steps and gives the rows per second of those after the warm-up.
Contestant = Callable[[int], float]


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
    training = TrainingConfig()
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
        module = TabularModule(TransformerConfig(**model), SPEC, TaskKind.REGRESSION, TrainingConfig())
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


def rtdl(arrays: Arrays) -> Contestant:
    """rtdl_revisiting_models' FT-Transformer of the same width and depth, in a plain loop."""
    from rtdl_revisiting_models import FTTransformer

    torch.manual_seed(0)
    net = FTTransformer(
        n_cont_features=NUMBERS,
        cat_cardinalities=CATEGORIES,
        d_out=1,
        n_blocks=2,
        d_block=64,
        attention_n_heads=4,
        attention_dropout=0.2,
        ffn_d_hidden_multiplier=4 / 3,
        ffn_dropout=0.1,
        residual_dropout=0.0,
    )
    optimizer = torch.optim.AdamW(net.make_parameter_groups(), lr=1e-4, weight_decay=1e-5, fused=True)
    batches = TensorBatches(arrays, BATCH, shuffle=True)

    def step(batch: Batch, _number: int) -> None:
        prediction: Tensor = net(batch.numeric, batch.categorical.long())
        assert batch.target is not None
        loss = nn.functional.mse_loss(prediction[:, 0], batch.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()

    return lambda steps: in_turn(batches, step, steps)


PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from omegaconf import OmegaConf
from pytorch_tabular.models.ft_transformer import FTTransformerConfig
from pytorch_tabular.models.ft_transformer.ft_transformer import FTTransformerBackbone
numbers, categories, batch, threads = json.loads(sys.argv[1])
torch.set_num_threads(threads)
config = FTTransformerConfig(task="regression", input_embed_dim=64, num_heads=4, num_attn_blocks=2)
hparams = OmegaConf.structured(config)
OmegaConf.set_struct(hparams, False)
hparams.continuous_dim, hparams.categorical_dim = numbers, len(categories)
hparams.categorical_cardinality, hparams.output_dim = categories, 1
torch.manual_seed(0)
backbone = FTTransformerBackbone(hparams)
embedding = backbone._build_embedding_layer()
head = torch.nn.Linear(backbone.output_dim, 1)
modules = torch.nn.ModuleList([embedding, backbone, head])
optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3)
x = torch.randn(batch, numbers)
c = torch.stack([torch.randint(0, size, (batch,)) for size in categories], 1)
y = torch.randn(batch)
def step():
    out = head(backbone(embedding({"continuous": x, "categorical": c})))[:, 0]
    loss = torch.nn.functional.mse_loss(out, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("ready", flush=True)
for line in sys.stdin:
    steps, warmup = json.loads(line)
    for _ in range(warmup):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    print(steps * batch / (time.perf_counter() - started), flush=True)
"""


def pytorch_tabular(python: str) -> Contestant:
    """pytorch_tabular's FT-Transformer of the same width and depth, in a plain loop under its own interpreter."""
    setup = json.dumps([NUMBERS, CATEGORIES, BATCH, torch.get_num_threads()])
    memory = {"MALLOC_MMAP_THRESHOLD_": str(MAPPED_ABOVE), "MALLOC_TRIM_THRESHOLD_": str(KEPT)}
    command = [python, "-c", PEER, setup]
    peer = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **memory}
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    to_peer, from_peer = peer.stdin, peer.stdout
    while (line := from_peer.readline()) and line.strip() != "ready":
        pass

    def run(steps: int) -> float:
        to_peer.write(json.dumps([steps, WARMUP]) + "\n")
        to_peer.flush()
        return float(from_peer.readline())

    return run


def in_turn(batches: TensorBatches, step: Callable[[Batch, int], None], steps: int) -> float:
    """Rows per second of some steps after the warm-up."""
    number, started = 0, 0.0
    while True:
        for batch in batches:
            if number == WARMUP:
                started = time.perf_counter()
            if number == WARMUP + steps:
                return steps * BATCH / (time.perf_counter() - started)
            step(batch, number)
            number += 1


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
    one = {"readout_tokens": 1}
    contestants: dict[str, Contestant] = {
        "mlpipe, bare loop": ours(arrays, model={}),
        "mlpipe, Trainer": trainer(arrays, precision="32-true", model={}),
        "rtdl FT-Transformer": rtdl(arrays),
        "mlpipe, bare loop, bf16": ours(arrays, precision="bf16-mixed", model={}),
        "mlpipe, Trainer, bf16": trainer(arrays, precision="bf16-mixed", model={}),
        "mlpipe, 1 readout token, bare loop": ours(arrays, model=one),
    }
    if not args.no_compile:
        contestants |= {
            "mlpipe, bare loop, compiled": ours(arrays, compiled=True, model={}),
            "mlpipe, bare loop, bf16, compiled": ours(arrays, precision="bf16-mixed", compiled=True, model={}),
        }
    if args.peer_python:
        contestants["pytorch_tabular FTTransformer"] = pytorch_tabular(args.peer_python)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    ceilings: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for run in contestants.values():
        run(2)  # compile, allocate
    for number in range(args.rounds):
        for name, run in contestants.items():
            rates[name].append(run(args.steps))
        ceilings["float32"].append(matmul_ceiling(torch.float32))
        ceilings["bfloat16"].append(matmul_ceiling(torch.bfloat16))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))

    base = "rtdl FT-Transformer"
    flops = flops_per_row({}, arrays)
    lines = ["| contestant | rows/s, median | against rtdl | matrix-product GFLOP/s |", "|---|---|---|---|"]
    for name, measured in rates.items():
        rate = statistics.median(measured)
        reached = f"{rate * flops / 1e9:.0f}" if name.startswith("mlpipe, ") and "1 readout" not in name else ""
        lines.append(f"| {name} | {rate:,.0f} | {ratio(name, base):.2f} | {reached} |")
    overhead = {p: ratio(f"mlpipe, Trainer{p}", f"mlpipe, bare loop{p}") for p in ("", ", bf16")}
    summary = (
        f"Trainer against the bare loop: {overhead['']:.3f} in float32, {overhead[', bf16']:.3f} in bf16-mixed. "
        f"Matrix products of 1024 x 1024 on these {torch.get_num_threads()} threads: "
        f"{statistics.median(ceilings['float32']):.0f} GFLOP/s in float32, "
        f"{statistics.median(ceilings['bfloat16']):.0f} in bfloat16. "
        f"Median of {args.rounds} rounds in turn, on {processor()}."
    )
    lines += ["", summary]
    print("\n".join(lines))
    args.results.mkdir(parents=True, exist_ok=True)
    record = {
        "rows_per_second": rates,
        "trainer_over_bare_loop": overhead,
        "matmul_gflops": ceilings,
        "flops_per_row": flops,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": processor(),
    }
    (args.results / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (args.results / "training.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
