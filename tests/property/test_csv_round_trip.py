"""What is written as CSV is read again: any separator, any quoting, any text, any nulls."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Literal

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlpipe.data.options import DEFAULT_NULL_VALUES, ReadOptions
from mlpipe.data.read import detect_options, scan

WORDS_WITH_MEANING = {word.lower() for word in DEFAULT_NULL_VALUES} | {"true", "false", "inf", "infinity"}
HEADER = st.from_regex(r"[A-Za-z][A-Za-z_ ]{0,8}[a-z]", fullmatch=True)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.builds(
    str.__add__,
    st.sampled_from("abcxyzÄß漢"),
    st.text(st.sampled_from("abc,;|\t \"'\n#é0.-🙂"), max_size=12),
).filter(lambda text: text.lower() not in WORDS_WITH_MEANING)
WORD = st.from_regex(r"[b-y]{2,6}", fullmatch=True).filter(lambda text: text not in WORDS_WITH_MEANING)


@st.composite
def tables(draw: st.DrawFn, text: st.SearchStrategy[str] = TEXT, least_rows: int = 1) -> pl.DataFrame:
    rows = draw(st.integers(least_rows, 12))
    names = draw(st.lists(HEADER, min_size=2, max_size=5, unique_by=str.lower))
    columns = {}
    for name in names:
        values, dtype = draw(
            st.sampled_from(
                [(INTEGERS, pl.Int64), (FLOATS, pl.Float64), (text, pl.String), (st.booleans(), pl.Boolean)]
            )
        )
        column = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        if all(value is None for value in column):
            column[0] = draw(values)
        columns[name] = pl.Series(column, dtype=dtype)
    frame = pl.DataFrame(columns)
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def as_read(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of which the filter left no value have no type of their own."""
    return frame.with_columns(pl.col(c.name).cast(pl.String) for c in frame if c.null_count() == frame.height)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=tables(),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from(["necessary", "always", "non_numeric"]),
    null=st.sampled_from(["", "NA", "?", "null"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    zipped=st.booleans(),
)
def test_with_a_separator(
    frame: pl.DataFrame,
    separator: str,
    quoting: Literal["necessary", "always", "non_numeric"],
    null: str,
    line_end: str,
    zipped: bool,
) -> None:
    written = frame.write_csv(
        separator=separator,
        quote_style=quoting,
        null_value=null,
        line_terminator=line_end,
    ).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.data"
        path.write_bytes(gzip.compress(written) if zipped else written)
        options = ReadOptions(separator=separator, header=True, decimal_comma=False)
        assert_frame_equal(scan(path, options).collect(), as_read(frame))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=tables(),
    separator=st.sampled_from(",;\t|"),
    comment=st.sampled_from(["#", "%", "//"]),
    remarks=st.lists(st.text(st.sampled_from("ab,;|\t \"'#"), max_size=8) | st.none(), min_size=13, max_size=13),
)
def test_with_remarks_between_the_rows(
    frame: pl.DataFrame, separator: str, comment: str, remarks: list[str | None]
) -> None:
    rows = [frame[i : i + 1].write_csv(separator=separator, include_header=False) for i in range(frame.height)]
    records = [frame.head(0).write_csv(separator=separator), *rows]
    written = "".join(
        record if remark is None else f"{comment}{remark}\n{record}"
        for remark, record in zip(remarks, records, strict=False)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.data"
        path.write_text(written, encoding="utf8", newline="")
        options = ReadOptions(separator=separator, header=True, decimal_comma=False, comment=comment)
        assert_frame_equal(scan(path, options).collect(), as_read(frame))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=tables(),
    separator=st.sampled_from(",;\t|"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    before=st.lists(st.sampled_from(["", "blank", "nulls", "nulls blank", "blank blank nulls"]), max_size=12),
)
def test_blank_lines_are_left_out_and_rows_of_nulls_are_not(
    frame: pl.DataFrame, separator: str, line_end: str, before: list[str]
) -> None:
    nulls = frame.clear(n=1)
    written, rows = frame.head(0).write_csv(separator=separator, line_terminator=line_end), []
    for i in range(frame.height):
        for line in (before[i] if i < len(before) else "").split():
            rows += [nulls] if line == "nulls" else []
            written += (separator * (frame.width - 1) if line == "nulls" else "") + line_end
        rows.append(frame[i : i + 1])
        written += rows[-1].write_csv(separator=separator, include_header=False, line_terminator=line_end)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.data"
        path.write_text(written, encoding="utf8", newline="")
        options = ReadOptions(separator=separator, header=True, decimal_comma=False)
        assert_frame_equal(scan(path, options).collect(), as_read(pl.concat(rows)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frame=tables(WORD, least_rows=4), separator=st.sampled_from(",;\t|"), blank=st.booleans())
def test_with_everything_detected(frame: pl.DataFrame, separator: str, blank: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.data"
        text = frame.write_csv(separator=separator)
        path.write_text(text.replace(separator, f"{separator} ") + "\n" if blank else text, encoding="utf8")
        options = detect_options(path)
        assert (options.separator, options.header) == (separator, True)
        assert_frame_equal(scan(path).collect(), as_read(frame))
        assert_frame_equal(scan(path, options).collect(), as_read(frame))
        assert detect_options(path, options) == options
