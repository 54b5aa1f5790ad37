"""The whole forward pass against one written row by row in NumPy and float64, straight from the papers."""

import cmath
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from mlpipe.models import Transformer, TransformerConfig
from mlpipe.schema import UNSEEN_ID, InputSpec

Vector = npt.NDArray[np.float64]
Weights = dict[str, Vector]
Inputs = tuple[Tensor, Tensor, Tensor]


def norm(x: Vector) -> Vector:
    return x / math.sqrt(float(np.mean(x**2)) + 1e-6)


def encode_piecewise(x: float, edges: tuple[float, ...]) -> list[float]:
    encoded = []
    bins = len(edges) - 1
    for index in range(bins):
        share = (x - edges[index]) / (edges[index + 1] - edges[index])
        if index > 0:
            share = max(share, 0.0)
        if index < bins - 1:
            share = min(share, 1.0)
        encoded.append(share)
    return encoded


def number_token(config: TransformerConfig, w: Weights, index: int, x: float, absent: bool, edges: Any) -> Vector:
    kind, prefix = config.numeric_embedding, "tokenizer.numeric"
    encoded: list[float] = []
    if kind == "ple":
        encoded = encode_piecewise(x, edges)
    elif kind != "linear":
        angles = [2 * math.pi * c * x for c in w[f"{prefix}.encoding.frequencies"][index, 0]]
        if kind == "pbld":
            shifts = w[f"{prefix}.encoding.phases"][index, 0]
            encoded = [math.cos(angle + shift) for angle, shift in zip(angles, shifts, strict=True)]
        else:
            encoded = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
    token = w[f"{prefix}.bias"][index, 0].copy()
    for position, value in enumerate(encoded):
        token += value * w[f"{prefix}.weight"][index, position]
    if kind in ("linear", "ple", "pbld"):
        token += x * w[f"{prefix}.slope"][index, 0]
    if kind == "plr":
        token = np.maximum(token, 0)
    out: Vector = token + absent * w[f"{prefix}.missing"][index, 0]
    return out


def row_tokens(config: TransformerConfig, spec: InputSpec, w: Weights, row: tuple[Any, Any, Any]) -> list[Vector]:
    numeric, missing, categorical = row
    single = [i for i, feature in enumerate(spec.numeric) if feature.group is None]
    tokens = [
        number_token(config, w, place, numeric[i], missing[i], spec.numeric[i].bins) for place, i in enumerate(single)
    ]
    groups = list(dict.fromkeys(feature.group for feature in spec.numeric if feature.group is not None))
    for place, group in enumerate(groups):
        token = w[f"tokenizer.groups.{place}.bias"].copy()
        inside = [i for i, feature in enumerate(spec.numeric) if feature.group == group]
        for position, i in enumerate(inside):
            token += numeric[i] * w[f"tokenizer.groups.{place}.weight"][:, position]
            token += missing[i] * w[f"tokenizer.groups.{place}.missing"][:, position]
        tokens.append(token)
    offset = 0
    for place, category in enumerate(spec.categorical):
        known = 0 <= categorical[place] < category.cardinality
        position = offset + (categorical[place] if known else UNSEEN_ID)
        tokens.append(w["tokenizer.categorical.table.weight"][position] + w["tokenizer.categorical.bias"][place, 0])
        offset += category.cardinality
    return tokens


def turn(x: Vector, position: float, base: float) -> Vector:
    turned = []
    for i in range(0, len(x), 2):
        z = complex(x[i], x[i + 1]) * cmath.exp(1j * position * base ** (-i / len(x)))
        turned += [z.real, z.imag]
    return np.array(turned)


def attention(
    config: TransformerConfig, w: Weights, prefix: str, queries: list[Any], memory: list[Any]
) -> list[Vector]:
    """Queries and memory are (position, normed token) pairs."""
    width, results = config.head_width, []
    for query_position, query_token in queries:
        heads = []
        for head in range(config.num_heads):
            rows = slice(head * width, (head + 1) * width)
            query = w[f"{prefix}.query.weight"][rows] @ query_token
            scores, values = [], []
            for key_position, memory_token in memory:
                key = w[f"{prefix}.key.weight"][rows] @ memory_token
                turned = query
                if config.qk_norm:
                    turned, key = norm(turned), norm(key)
                if config.rope == "index":
                    turned = turn(turned, query_position, config.rope_base)
                    key = turn(key, key_position, config.rope_base)
                scores.append(math.exp(float(turned @ key) / math.sqrt(width)))
                values.append(w[f"{prefix}.value.weight"][rows] @ memory_token)
            heads.append(sum(s / sum(scores) * value for s, value in zip(scores, values, strict=True)))
        results.append(w[f"{prefix}.out.weight"] @ np.concatenate(heads))
    return results


def gate(name: str, x: float) -> float:
    match name:
        case "swiglu":
            return x / (1 + math.exp(-x))
        case "geglu":
            return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
        case _:
            return max(x, 0.0)


def block(
    config: TransformerConfig, w: Weights, index: int, queries: list[Any], memory: list[Any]
) -> list[tuple[float, Vector]]:
    prefix = f"blocks.{index}"
    first = norm if index > 0 or config.first_norm else (lambda x: x)
    normed_queries = [(position, first(x)) for position, x in queries]
    normed_memory = [(position, first(x)) for position, x in memory]
    mixed = attention(config, w, f"{prefix}.attention", normed_queries, normed_memory)
    out = []
    for (position, before), update in zip(queries, mixed, strict=True):
        x = before + update
        both = w[f"{prefix}.mlp.up.weight"] @ norm(x)
        half = len(both) // 2
        hidden = np.array([gate(config.gate, both[i]) * both[half + i] for i in range(half)])
        out.append((position, x + w[f"{prefix}.mlp.down.weight"] @ hidden))
    return out


def head(config: TransformerConfig, w: Weights, readouts: list[Vector]) -> list[Vector]:
    if config.head == "linear":
        return [x @ w["head.weight"][k] + w["head.bias"][k] for k, x in enumerate(readouts)]
    out = []
    for k in range(config.members):
        hidden = (w["head.shared.weight"] @ (readouts[0] * w["head.scale_in"][k])) * w["head.scale_out"][k]
        hidden = np.maximum(hidden + w["head.bias"][k], 0)
        out.append(hidden @ w["head.out.weight"][k] + w["head.out.bias"][k])
    return out


def reference(config: TransformerConfig, spec: InputSpec, w: Weights, inputs: Inputs) -> Vector:
    rows = zip(*(values.tolist() for values in inputs), strict=True)
    logits = []
    for row in rows:
        columns = [(1.0 + i, token) for i, token in enumerate(row_tokens(config, spec, w, row))]
        readouts = [(0.0, token) for token in w["readout.weight"][:, 0]]
        last = config.num_layers - 1
        memory = readouts + columns if config.readout == "all" else columns
        for index in range(last):
            memory = block(config, w, index, memory, memory)
        if config.readout == "all":
            readouts = memory[: len(readouts)]
        readouts = block(config, w, last, readouts, memory)
        alone = 0.0
        if config.additive:
            alone = sum(token @ w["additive.weight"][i] for i, (_, token) in enumerate(columns))
        logits.append([member + alone for member in head(config, w, [norm(x) for _, x in readouts])])
    return np.array(logits)


def combinations() -> list[TransformerConfig]:
    """Every gate with every embedding, position, readout and head; the minor choices take turns."""
    configs = []
    choices = itertools.product(
        ("swiglu", "geglu", "reglu"),
        ("linear", "ple", "periodic", "plr", "pbld"),
        ("none", "index"),
        ("all", "last"),
        ("linear", "members"),
    )
    for turn_number, (gate_name, embedding, rope, readout, head_name) in enumerate(choices):
        configs.append(
            TransformerConfig(
                width=8,
                num_heads=2,
                num_layers=1 + turn_number % 3,
                num_frequencies=3,
                frequency_scale=0.5,
                readout_tokens=2,
                members=3,
                member_width=5,
                gate=gate_name,
                numeric_embedding=embedding,
                rope=rope,
                readout=readout,
                head=head_name,
                qk_norm=turn_number % 5 < 2,
                first_norm=turn_number % 7 < 3,
                additive=turn_number % 4 > 0,
            )
        )
    return configs


def describe(config: TransformerConfig) -> str:
    return f"{config.gate}-{config.numeric_embedding}-{config.rope}-{config.readout}-{config.head}"


def random_model(config: TransformerConfig, spec: InputSpec) -> tuple[Transformer, Weights]:
    model = Transformer(config, spec).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model, {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("config", combinations(), ids=describe)
def test_forward(config: TransformerConfig, spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    model, weights = random_model(config, spec)
    numeric, missing, categorical = make_inputs(3)
    categorical[0, 0] = 99  # out of range: unseen
    with torch.no_grad():
        logits = model(numeric.double(), missing, categorical).numpy()
    expected = reference(config, spec, weights, (numeric.double(), missing, categorical))
    # The rotary table is float32, everything else float64.
    tolerance = 1e-10 if config.rope == "none" else 1e-5
    np.testing.assert_allclose(logits, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("config", combinations()[::7], ids=describe)
def test_forward_in_bfloat16(config: TransformerConfig, spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """Under autocast the error is what eight bits of mantissa leave, and no more."""
    model, weights = random_model(config, spec)
    inputs = make_inputs(16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model.float()(*inputs).float().numpy()
    expected = reference(config, spec, weights, inputs)
    error = np.sqrt(np.mean((logits - expected) ** 2)) / np.sqrt(np.mean(expected**2))
    assert error < 0.06
