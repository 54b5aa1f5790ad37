"""Rotary position against complex numbers, where a turn is one multiplication."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlpipe.models.rope import rotary_frequencies, rotary_table, rotate

TOKENS, ROWS, HEADS, WIDTH = 7, 3, 2, 8
Rotate = Callable[[Tensor, Tensor, Tensor], Tensor]


def turned_as_complex_numbers(x_TBHE: Tensor, positions_TB: Tensor, base: float) -> Tensor:
    """float64; number 2i is the real part and number 2i + 1 the imaginary part."""
    pairs = torch.complex(x_TBHE[..., 0::2].double(), x_TBHE[..., 1::2].double())
    half = pairs.shape[-1]
    frequencies = torch.tensor([base ** (-i / half) for i in range(half)], dtype=torch.float64)
    turned = pairs * torch.exp(1j * positions_TB.double()[..., None, None] * frequencies)
    return torch.stack((turned.real, turned.imag), dim=-1).flatten(-2)


def compiled_rotate(x_TBHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """What the compiler sees."""
    torch._dynamo.reset()
    turned: Tensor = torch.compile(rotate, fullgraph=True, backend="eager")(x_TBHE, cos, sin)
    return turned


BOTH_WAYS = pytest.mark.parametrize("function", [rotate, compiled_rotate])


def random_tokens(seed: int) -> Tensor:
    return torch.randn(TOKENS, ROWS, HEADS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@BOTH_WAYS
@pytest.mark.parametrize("base", [100.0, 10_000.0])
def test_index_positions_match_complex_numbers(function: Rotate, base: float) -> None:
    x = random_tokens(0)
    cos, sin = rotary_table(torch.arange(TOKENS), rotary_frequencies(WIDTH, base))
    expected = turned_as_complex_numbers(x, torch.arange(TOKENS)[:, None].expand(TOKENS, ROWS), base)
    torch.testing.assert_close(function(x, cos, sin), expected, atol=3e-6, rtol=0)


@BOTH_WAYS
def test_real_positions_of_every_row_match_complex_numbers(function: Rotate) -> None:
    x = random_tokens(1)
    positions = torch.rand(TOKENS, ROWS, generator=torch.Generator().manual_seed(2)) * 20
    cos, sin = rotary_table(positions, rotary_frequencies(WIDTH))
    torch.testing.assert_close(
        rotate(x, cos, sin), turned_as_complex_numbers(x, positions, 10_000.0), atol=6e-6, rtol=0
    )


@pytest.mark.parametrize("shift", [1.0, 17.0, -250.5])
def test_products_depend_on_the_distance_alone(shift: float) -> None:
    query, key = random_tokens(3), random_tokens(4)
    positions = torch.arange(TOKENS) * 1.5

    def products(offset: float) -> Tensor:
        table = rotary_table(positions + offset, rotary_frequencies(WIDTH))
        return torch.einsum("tbhe,sbhe->bhts", rotate(query, *table), rotate(key, *table))

    torch.testing.assert_close(products(shift), products(0.0), atol=2e-4, rtol=0)
    unshifted = torch.einsum("tbhe,sbhe->bhts", query, key)
    assert (products(0.0) - unshifted).abs().max() > 0.1  # the turn does something


def test_lengths_are_kept() -> None:
    x = random_tokens(5)
    turned = rotate(x, *rotary_table(torch.arange(TOKENS) * 100, rotary_frequencies(WIDTH)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-6, rtol=0)


def test_position_zero_is_left_alone() -> None:
    x = random_tokens(6)
    assert torch.equal(rotate(x, *rotary_table(torch.zeros(TOKENS), rotary_frequencies(WIDTH))), x)


@BOTH_WAYS
def test_a_quarter_turn_by_hand(function: Rotate) -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    cos, sin = rotary_table(torch.tensor([1.0]), torch.tensor([torch.pi / 2, torch.pi]))
    torch.testing.assert_close(
        function(x, cos, sin).flatten(), torch.tensor([-2.0, 1.0, -3.0, -4.0]), atol=1e-6, rtol=0
    )


@BOTH_WAYS
def test_gradients_are_turned_back(function: Rotate) -> None:
    x = random_tokens(8).requires_grad_()
    cos, sin = rotary_table(torch.arange(TOKENS), rotary_frequencies(WIDTH))
    (gradient,) = torch.autograd.grad(function(x, cos, sin), x, random_tokens(9))
    torch.testing.assert_close(gradient, rotate(random_tokens(9), cos, -sin))


def test_angles_are_float32_and_tokens_keep_their_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        cos, sin = rotary_table(torch.arange(TOKENS, dtype=torch.bfloat16), rotary_frequencies(WIDTH))
        turned = rotate(random_tokens(7).bfloat16(), cos, sin)
    assert cos.dtype == sin.dtype == torch.float32
    assert turned.dtype == torch.bfloat16


def test_frequencies_are_a_geometric_ladder() -> None:
    frequencies = rotary_frequencies(64, base=10_000.0)
    assert frequencies[0] == 1
    ratios = frequencies[1:] / frequencies[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 10_000.0 ** (-1 / 32)))
