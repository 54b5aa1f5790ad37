"""What results say of the machine."""

import pytest
from processor import processor, units_of


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ("flags\t\t: fpu sse avx avx2 avx512f avx512bw amx_bf16 amx_tile", ["AVX-512", "AMX"]),
        ("processor : 0\nflags : avx avx2\nflags : avx", ["AVX2"]),
        ("Features : fp asimd", []),
        ("", []),
    ],
)
def test_the_widest_unit_is_named(flags: str, units: list[str]) -> None:
    assert units_of(flags) == units


def test_this_machine_is_described() -> None:
    assert processor().endswith("hardware threads")
