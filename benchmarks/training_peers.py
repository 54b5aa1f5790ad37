"""What `training.py` measures beside ours: two FT-Transformers of equal width and depth, and how they take turns.

rtdl's FT-Transformer (package rtdl_revisiting_models) runs in a plain AdamW loop. pytorch_tabular's, which does not
install beside this package, runs in the same loop under an interpreter of its own, which reads numbers of steps from
its standard input and answers with rows per second.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlpipe.arrays import Arrays
from mlpipe.data.batches import Batch, TensorBatches
from mlpipe.memory import KEPT, MAPPED_ABOVE

NUMBERS, CATEGORIES, BATCH, WARMUP = 10, [4, 10, 40, 120], 512, 5
#: Runs a number of steps and gives the rows per second of those after the warm-up.
Contestant = Callable[[int], float]


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
