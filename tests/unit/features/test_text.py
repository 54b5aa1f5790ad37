from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mlpipe.features.text import HashedNgrams


def embed(values: Sequence[str | None], width: int = 64) -> np.ndarray:
    return HashedNgrams(width).embed(pl.Series(values, dtype=pl.String))


def slow(text: str, width: int, sizes: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """The same by loops over n-grams and words, in Python's own integers."""
    mask = 2**64 - 1
    base = 0x9E3779B97F4A7C15
    data = [byte + 1 for byte in f" {text.lower()} ".encode()]
    hashes = []
    for size in sizes:
        for start in range(len(data) - size + 1):
            value = size
            for code in data[start : start + size]:
                value = (value * base + code) & mask
            hashes.append(value)
    words = [word.encode() for word in text.lower().split(" ") if word]
    hashes += [sum((byte + 1) * base ** (place + 1) for place, byte in enumerate(word)) & mask for word in words]
    counts = np.zeros(width)
    for value in hashes:
        mixed = (value + base) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
        counts[mixed % width] += 1 - 2 * (mixed >> 63)
    return counts / (np.sqrt((counts**2).sum()) or 1.0)


def test_equals_the_slow_way() -> None:
    texts = ["a", "red fox", "Grüße  aus 日本", "x" * 40, "to be or not to be"]
    np.testing.assert_array_equal(embed(texts), [slow(text, 64) for text in texts])


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    texts = ["red fox", "", "blue", None, "a b"]
    alone = np.concatenate([embed([text]) for text in texts])
    np.testing.assert_array_equal(embed(texts), alone)


def test_rows_have_length_one_and_similar_texts_are_near() -> None:
    red, reds, other = embed(["the red fox jumps", "the red foxes jump", "annual report 2024"], width=256)
    assert np.linalg.norm(red) == 1.0 or abs(np.linalg.norm(red) - 1) < 1e-12
    assert red @ reds > 0.5 > abs(red @ other)


def test_null_and_blank_are_null() -> None:
    made = HashedNgrams(2).fit_transform(pl.DataFrame({"x": ["a", None, "  "]}))
    assert made.columns == ["x.0", "x.1"]
    assert made.select(pl.all().is_null()).rows() == [(False, False), (True, True), (True, True)]


def test_very_long_texts_are_cut_off() -> None:
    words = "word " * 2_000
    np.testing.assert_array_equal(embed([words]), embed([words + "another end"]))
    assert np.isfinite(embed(["x" * 10_000])).all()
