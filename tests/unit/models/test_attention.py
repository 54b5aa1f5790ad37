"""The two ways to compute attention, against each other and against loops."""

import math

import pytest
import torch
from torch import Tensor

from mlpipe.models.attention import Attention, attend, attend_on_cpu
from mlpipe.models.norm import rms_norm
from mlpipe.models.rope import rotary_frequencies, rotary_table


def random_heads(tokens: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, 3, 2, 4, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def attended_in_loops(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    out = torch.zeros_like(query)
    tokens, rows, heads, width = query.shape
    for t in range(tokens):
        for b in range(rows):
            for h in range(heads):
                weights = [math.exp(float(query[t, b, h] @ key[s, b, h]) / math.sqrt(width)) for s in range(len(key))]
                total = sum(weights)
                out[t, b, h] = sum(w / total * value[s, b, h] for s, w in enumerate(weights))
    return out


@pytest.mark.parametrize("memory", [1, 5, 17])
@pytest.mark.parametrize("function", [attend, attend_on_cpu])
def test_matches_loops(function: type, memory: int) -> None:
    query = random_heads(3, torch.float64, 0)
    key, value = random_heads(memory, torch.float64, 1), random_heads(memory, torch.float64, 2)
    with torch.no_grad():
        expected = attended_in_loops(query, key, value)
    torch.testing.assert_close(function(query, key, value), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.06)])
def test_the_fused_kernel_and_the_written_out_way_agree_in_value_and_gradient(
    dtype: torch.dtype, tolerance: float
) -> None:
    inputs = [random_heads(tokens, dtype, seed) for seed, tokens in enumerate((4, 11, 11))]
    cotangent = torch.randn(4, 3, 2, 4, generator=torch.Generator().manual_seed(9)).to(dtype)
    fused = torch.nn.functional.scaled_dot_product_attention(*(x.permute(1, 2, 0, 3) for x in inputs))  # type: ignore[arg-type]
    plain = attend_on_cpu(*inputs)
    torch.testing.assert_close(plain, fused.permute(2, 0, 1, 3), atol=tolerance, rtol=0)
    for ours, theirs in zip(
        torch.autograd.grad(plain, inputs, cotangent),
        torch.autograd.grad(fused, inputs, cotangent.permute(1, 2, 0, 3)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def test_large_scores_do_not_overflow() -> None:
    query, key, value = (random_heads(5, torch.float32, seed) for seed in range(3))
    assert attend_on_cpu(query * 1e4, key, value).isfinite().all()


def test_attention_of_some_queries_is_a_part_of_the_attention_of_all() -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, num_heads=2, qk_norm=True).double()
    x = torch.randn(6, 3, 8, dtype=torch.float64)
    cos, sin = rotary_table(torch.arange(6), rotary_frequencies(4))
    everything = attention(x, x, (cos, sin), (cos, sin))
    some = attention(x[:2], x, (cos[:2], sin[:2]), (cos, sin))
    torch.testing.assert_close(some, everything[:2])


def test_without_position_the_memory_has_no_order() -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, num_heads=2).double()
    queries, memory = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(6, 3, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(queries, memory), attention(queries, memory.flip(0)))


def test_rms_norm_matches_torch() -> None:
    x = torch.randn(5, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cotangent = torch.randn(5, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.rms_norm(x, (8,), eps=1e-6)
    torch.testing.assert_close(rms_norm(x), expected)
    (ours,) = torch.autograd.grad(rms_norm(x), x, cotangent)
    (theirs,) = torch.autograd.grad(expected, x, cotangent)
    torch.testing.assert_close(ours, theirs)


def test_rms_norm_of_zero_is_zero_and_its_gradient_finite() -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    out = rms_norm(x)
    torch.autograd.backward(out.sum())
    assert torch.equal(out, torch.zeros(2, 8))
    assert x.grad is not None
    assert x.grad.isfinite().all()
