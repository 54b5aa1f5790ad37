"""Rotary position against complex numbers, where a turn is one multiplication."""

import pytest
import torch
from torch import Tensor

from mlpipe.models.rope import rotary_frequencies, rotary_table, rotate

TOKENS, ROWS, HEADS, WIDTH = 7, 3, 2, 8


def turned_as_complex_numbers(x_TBHE: Tensor, positions_TB: Tensor, base: float) -> Tensor:
    """float64; number i is the real part and number i + E/2 the imaginary part."""
    half = x_TBHE.shape[-1] // 2
    pairs = torch.complex(x_TBHE[..., :half].double(), x_TBHE[..., half:].double())
    frequencies = torch.tensor([base ** (-2 * i / x_TBHE.shape[-1]) for i in range(half)], dtype=torch.float64)
    turned = pairs * torch.exp(1j * positions_TB.double()[..., None, None] * frequencies)
    return torch.cat((turned.real, turned.imag), dim=-1)


def random_tokens(seed: int) -> Tensor:
    return torch.randn(TOKENS, ROWS, HEADS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("base", [100.0, 10_000.0])
def test_index_positions_match_complex_numbers(base: float) -> None:
    x = random_tokens(0)
    cos, sin = rotary_table(torch.arange(TOKENS), rotary_frequencies(WIDTH, base))
    expected = turned_as_complex_numbers(x, torch.arange(TOKENS)[:, None].expand(TOKENS, ROWS), base)
    torch.testing.assert_close(rotate(x, cos, sin), expected, atol=3e-6, rtol=0)


def test_real_positions_of_every_row_match_complex_numbers() -> None:
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
