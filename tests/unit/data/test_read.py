"""Reading: what is detected, what is refused and in which words."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpipe.data import csvscan, sources
from mlpipe.data import read as reading
from mlpipe.data.options import DEFAULT_NULL_VALUES, ReadOptions
from mlpipe.data.read import detect_options, scan
from mlpipe.errors import ConfigError, DataError

TABLE = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y y", "z"], "c": [0.5, None, -1e30]})


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: str | Path, **options: object) -> pl.DataFrame:
    """By both ways, which have to agree."""
    chosen = ReadOptions(**options)  # type: ignore[arg-type]
    frame = scan(path, chosen).collect()
    at_once, detected = reading.read(path, chosen)
    assert_frame_equal(at_once, frame)
    assert detected == reading._scan(reading._find(path, chosen))[1]
    return frame


class TestFormats:
    def test_csv(self, tmp_path: Path) -> None:
        assert_frame_equal(read(write(tmp_path, TABLE.write_csv())), TABLE)

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_separator_is_detected(self, tmp_path: Path, separator: str) -> None:
        path = write(tmp_path, TABLE.write_csv(separator=separator), "table.data")
        assert_frame_equal(read(path), TABLE)
        assert detect_options(path).separator == separator

    def test_tsv_by_its_name_may_hold_commas(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, "a\tb\n1,200\t3\n4,500\t6\n", "table.tsv")).row(0) == ("1,200", 3)

    @pytest.mark.parametrize("name", ["table.csv.gz", "table.data"])
    def test_gzip_whatever_its_name(self, tmp_path: Path, name: str) -> None:
        assert_frame_equal(read(write(tmp_path, gzip.compress(TABLE.write_csv().encode()), name)), TABLE)

    def test_name_says_gzip_but_it_is_plain(self, tmp_path: Path) -> None:
        assert_frame_equal(read(write(tmp_path, TABLE.write_csv(), "table.csv.gz")), TABLE)

    def test_zstandard(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv.zst"
        TABLE.lazy().sink_csv(path, compression="zstd")
        assert path.read_bytes().startswith(b"\x28\xb5\x2f\xfd")
        assert_frame_equal(read(path), TABLE)

    @pytest.mark.parametrize("format_", ["parquet", "ipc", "ndjson"])
    @pytest.mark.parametrize("named", [True, False])
    def test_binary_formats_and_json(self, tmp_path: Path, format_: str, named: bool) -> None:
        path = tmp_path / (f"table.{format_}" if named else "table.bin")
        getattr(TABLE, f"write_{format_}")(path)
        assert_frame_equal(read(path), TABLE)
        assert detect_options(path).format == format_

    def test_ndjson_types_and_keys_of_late_rows(self, tmp_path: Path) -> None:
        rows = [{"a": 1}] * 500 + [{"a": "late", "b": 2.5}]
        frame = read(write(tmp_path, "\n".join(map(json.dumps, rows)), "table.jsonl"))
        assert frame.row(-1) == ("late", 2.5)

    def test_zip_with_one_member(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.writestr("folder/table.csv", TABLE.write_csv())
            archive.writestr("__MACOSX/._table.csv", b"\x00")
        assert_frame_equal(read(tmp_path / "t.zip"), TABLE)

    def test_zip_with_several_members(self, tmp_path: Path) -> None:
        path = tmp_path / "t.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("Readme.txt", "about")
            archive.writestr("hour.csv", TABLE.write_csv())
            archive.writestr("day.csv", "p,q\n1,2\n")
        with pytest.raises(DataError, match=r"several files \(Readme.txt, hour.csv, day.csv\).*t.zip::hour.csv"):
            read(path)
        assert_frame_equal(read(f"{path}::hour.csv"), TABLE)
        assert read(Path(f"{path}::day.csv")).columns == ["p", "q"]
        with pytest.raises(DataError, match=r"no file 'hours.csv'. Did you mean 'hour.csv'"):
            read(f"{path}::hours.csv")

    def test_glob(self, tmp_path: Path) -> None:
        write(tmp_path, "a,b\n1,x\n", "part-1.csv")
        write(tmp_path, "a,b\n2.5,y\n", "part-2.csv")
        assert read(tmp_path / "part-*.csv").rows() == [(1.0, "x"), (2.5, "y")]

    def test_a_name_with_glob_characters_is_a_name(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, "a,b\n1,2\n", "t[1].csv")).rows() == [(1, 2)]

    def test_file_url(self, tmp_path: Path) -> None:
        assert read("file://" + str(write(tmp_path, "a,b\n1,2\n"))).rows() == [(1, 2)]


class TestText:
    def test_leading_blanks_question_marks_and_a_blank_last_line(self, tmp_path: Path) -> None:
        text = "39, State-gov, 13.5, <=50K\n50, ?, ?, >50K\n38, Private, 9, <=50K\n\n"
        frame = read(write(tmp_path, text, "adult.data"))
        assert frame.columns == ["column_1", "column_2", "column_3", "column_4"]
        assert frame.rows() == [
            (39, "State-gov", 13.5, "<=50K"),
            (50, None, None, ">50K"),
            (38, "Private", 9.0, "<=50K"),
        ]

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("a,b\n\n  \n1,2\n3,4\n", {}),
            ("\n\na,b\n1,2\n\n3,4\n\n", {}),
            ("\n\n1,2\n3,4\n", {"header": False, "columns": ["a", "b"]}),
            ("Title\n\na,b\n\n1,2\n3,4\n", {"skip_rows": 1}),
            ("a,b\n#\n\n#\n1,2\n\n3,4\n", {"comment": "#"}),
        ],
    )
    def test_blank_lines_anywhere(self, tmp_path: Path, text: str, options: dict[str, object]) -> None:
        frame = read(write(tmp_path, text), **options)
        assert_frame_equal(frame, pl.DataFrame({"a": [1, 3], "b": [2, 4]}))

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("a,b\n1,2\n,\nNA,\n3,4\n", {}),
            ("a,b\n1,2\n\n,\n  \nNA,\n\n3,4\n\n", {}),
            ("a,b\r\n1,2\r\n,\r\n\r\n,\r\n3,4\r\n\r\n", {}),
            ("a\tb\n1\t2\n\n\t\n\t\n3\t4\n", {}),
            ("# made by hand\na,b\n1,2\n# \n,\n\n,\n3,4\n", {"comment": "#"}),
        ],
    )
    def test_rows_of_missing_values_are_rows(self, tmp_path: Path, text: str, options: dict[str, object]) -> None:
        expected = pl.DataFrame({"a": [1, None, None, 3], "b": [2, None, None, 4]})
        path = write(tmp_path, text)
        assert_frame_equal(read(path, **options), expected)
        assert_frame_equal(scan(path, ReadOptions(**options)).collect(), expected)  # type: ignore[arg-type]

    def test_blank_lines_within_quotes_are_no_rows(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, 'a,b\n,\n"x\n\ny",1\n\n,\n"z ""\n\n""",2\n'))
        assert frame.rows() == [(None, None), ("x\n\ny", 1), (None, None), ('z "\n\n"', 2)]

    def test_rows_and_blank_lines_that_cannot_be_told_apart_are_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path, 'a,b\n1,x\n,\n\n2,"w\n#"\n3,y\n')  # what looks like a remark ends a quoted field
        with pytest.raises(
            DataError, match=r"table\.csv has blank lines, rows of nothing but missing .* blank lines out"
        ):
            read(path, comment="#")

    @pytest.mark.parametrize("first", ["1,x,y\n", "1,x,\n", '1,"x\n,",y\n'])
    @pytest.mark.parametrize("late", ["", "2,,\n", '3,"a\n\nb",\n', "\n"])
    def test_a_row_that_is_too_short_is_refused_wherever_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, late: str
    ) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 100)
        text = "a,b,c\n" + first * 50 + late
        line = text.count("\n") + 1
        for load in (reading.read, scan):
            path = write(tmp_path, text + "1,x\n" + first)
            with pytest.raises(DataError, match=rf"table\.csv: line {line} has 2 fields, but there are 3 columns"):
                load(path)
        assert read(write(tmp_path, text + first)).height == 51 + (late not in {"", "\n"})

    def test_nothing_but_separators(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"table\.tsv has a header but no rows"):
            read(write(tmp_path, "a\tb\n\t\n\t\n", "table.tsv"))

    def test_quotes_behind_leading_blanks(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, 'a, b\n1, "x"\n2, "?"\n')).rows() == [(1, "x"), (2, None)]

    def test_names_without_header(self, tmp_path: Path) -> None:
        path = write(tmp_path, "1,x\n2,y\n")
        assert read(path).columns == ["column_1", "column_2"]
        assert read(path, columns=["n", "s"]).columns == ["n", "s"]
        with pytest.raises(DataError, match=r"has 1 name, but .*table.csv has 2 fields a row"):
            read(path, columns=["n"])

    def test_names_may_replace_a_header(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, "a,b\n1,x\n"), columns=["n", "s"], header=True)
        assert frame.to_dicts() == [{"n": 1, "s": "x"}]

    def test_row_names_without_a_name(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, '"date","light"\n"1","2015-02-04",426\n"2","2015-02-05",429.5\n'))
        assert frame.columns == ["column_1", "date", "light"]
        assert frame["light"].to_list() == [426.0, 429.5]

    def test_separator_at_the_end_of_every_row(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, "a,b\n1,2,\n3,4,\n")).columns == ["a", "b", "column_3"]

    def test_header_cell_without_a_name(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, ",a\n0,1\n1,5\n")).columns == ["column_1", "a"]

    def test_byte_order_mark_and_windows_line_ends(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2\r\n")).to_dicts() == [{"a": 1, "b": 2}]
        assert read(write(tmp_path, b"\xef\xbb\xbf1,2\r\n3,4\r\n")).rows() == [(1, 2), (3, 4)]

    def test_header_over_two_lines_below_remarks(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, 'Export of today\n\n"a\nb",c\n1,2\n'), skip_rows=1)
        assert frame.to_dict(as_series=False) == {"a\nb": [1], "c": [2]}

    def test_decimal_comma_is_detected(self, tmp_path: Path) -> None:
        path = write(tmp_path, "x;y\n1,5;a\n2;b\n")
        assert read(path)["x"].to_list() == [1.5, 2.0]
        assert detect_options(path).decimal_comma is True
        assert read(write(tmp_path, "x;y\n1.5;a, b\n2;b\n"))["x"].to_list() == [1.5, 2.0]

    @pytest.mark.parametrize(
        ("cells", "values"),
        [
            (["0,125", "1,500", "2"], [0.125, 1.5, 2.0]),
            (["1500,125", "-1,500", "2"], [1500.125, -1.5, 2.0]),
            (["NA", "1,5", "2"], [None, 1.5, 2.0]),
            (["1,5e-05", "-2,5E+3", "3"], [1.5e-5, -2500.0, 3.0]),
            (["1,500", "2,250", "300"], ["1,500", "2,250", "300"]),  # may be thousands
        ],
    )
    def test_three_digits_behind_a_comma(self, tmp_path: Path, cells: list[str], values: list[object]) -> None:
        rows = "".join(f"{cell};a\n" for cell in cells)
        assert read(write(tmp_path, f"x;y\n{rows}"))["x"].to_list() == values

    def test_quotes_as_they_are(self, tmp_path: Path) -> None:
        path = write(tmp_path, 'a,b\n5" pipe,2\n6" pipe,3\n7 pipe,1\n8" pipe,2\n')
        assert read(path, quote="")["a"][0] == '5" pipe'

    def test_null_values_of_ones_own(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a,b\n-1,NA\n2,x\n")
        assert read(path, null_values=["-1"]).rows() == [(None, "NA"), (2, "x")]

    def test_other_encodings(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a,b\n1,caf\xe9\n".encode("latin-1"))
        assert read(path, encoding="latin-1")["b"][0] == "café"
        assert read(path, encoding="utf8-lossy")["b"][0] == "caf\ufffd"
        assert read(write(tmp_path, "a,b\n1,é\n".encode("utf-16")), encoding="utf-16").rows() == [(1, "é")]


class TestTypes:
    def test_codes_stay_text(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, 'zip,code,n,all\n02134,"1",0,0.5\n98178,"2",10,007.5\n'))
        assert frame.dtypes == [pl.String, pl.String, pl.Int64, pl.Float64]
        assert frame["zip"][0] == "02134"

    def test_quotes_around_everything_say_nothing(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, '"a","b"\n"1","2.5"\n"2","3"\n')).dtypes == [pl.Int64, pl.Float64]

    def test_booleans_large_numbers_exponents(self, tmp_path: Path) -> None:
        text = "t,h,e,i,p\nTRUE,9223372036854775808,1e5,inf,+1\nfalse,1,-.5,-Infinity,-2\n"
        assert read(write(tmp_path, text)).dtypes == [pl.Boolean, pl.Int128, pl.Float64, pl.Float64, pl.Int64]

    def test_a_late_value_of_another_type(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 1_000)
        path = write(tmp_path, "a,b,c\n" + "1,2,x\n" * 5_000 + "1.5,late,x\n\n")
        frame = read(path)
        assert frame.dtypes == [pl.Float64, pl.String, pl.String]
        assert frame.row(-1) == (1.5, "late", "x")
        assert frame.height == 5_001

    def test_a_large_file_is_parsed_once_for_all_scans(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 1_000)
        path = write(tmp_path, "a,b\n" + "1,x\n" * 5_000)
        before = csvscan._check_files.cache_info().misses
        scan(path, detect_options(path)).collect()
        assert csvscan._check_files.cache_info().misses == before + 1

    def test_wanted_types(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write(tmp_path, "a,b\n1,2\n3,4.5\n")
        frame = read(path, dtypes={"a": "String"})
        assert frame.dtypes == [pl.String, pl.Float64]
        with caplog.at_level(logging.WARNING):
            assert read(path, dtypes={"b": "Int64"}).dtypes == [pl.Int64, pl.Float64]
        assert "column 'b' holds values that are no Int64; it is read as Float64" in caplog.text
        with pytest.raises(ConfigError, match=r"'a' is 'Float46'. Did you mean 'Float64'"):
            read(path, dtypes={"a": "Float46"})
        with pytest.raises(ConfigError, match=r"`data.read.dtypes` names 'aa', which .* has not. Did you mean 'a'"):
            detect_options(path, ReadOptions(dtypes={"aa": "Float64"}))
        assert read(path, dtypes={"aa": "Float64"}).columns == ["a", "b"]  # a later file may lack the target

    def test_later_files_are_read_like_the_first(self, tmp_path: Path) -> None:
        options = detect_options(write(tmp_path, "k;v\n01;a\n02;?\n", "train.csv"))
        later = write(tmp_path, "k;v\n3;1\n4;2\n", "later.csv")
        frame = scan(later, options).collect()
        assert frame.rows() == [("3", "1"), ("4", "2")]
        assert detect_options(later, options) == options
        assert ReadOptions(**json.loads(json.dumps(asdict(options)))) == options


class TestRefusals:
    def test_missing_file(self, tmp_path: Path) -> None:
        write(tmp_path, "a\n1\n", "hour.csv")
        with pytest.raises(DataError, match=r"no file .*hours.csv. Did you mean 'hour.csv'"):
            read(tmp_path / "hours.csv")
        with pytest.raises(DataError, match=r"no folder .*data. There are: hour.csv"):
            read(tmp_path / "data" / "deep" / "hour.csv")
        with pytest.raises(DataError, match=r"No file matches .*\*.parquet"):
            read(tmp_path / "*.parquet")

    def test_folder(self, tmp_path: Path) -> None:
        write(tmp_path, "a\n1\n", "x.data")
        with pytest.raises(DataError, match=r"is a folder; .*\*\.data"):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", r"is empty \(0 bytes\)"),
            (b" \n\n", "is empty"),
            (b"a,b\n", r"has a header \(a, b\) but no rows"),
            (b"a,b\n\n\n", "has a header .* but no rows"),
            (b"a,a,b\n1,2,3\n", "name 'a' stands 2 times in the header"),
            (b"*,b\n1,2\n", r"the column name '\*' is a pattern .*`data.read.columns`"),
            (b"a,^a.*$\n1,2\n", r"the column name '\^a\.\*\$' is a pattern"),
            (b"a,b\n1,2\n3,4,5\n6,7\n", "line 3 has 3 fields, but there are 2 columns"),
            (b"a,b,c\n1,2,3\n3,4,5\n6,7\n", "line 4 has 2 fields, but there are 3 columns"),
            (b"model:\nwidth: 8\nx: 1, 2\n", "line 3 has 2 fields, but there is 1 column"),
            (b"Sales of May\na,b,c\n1,2,3\n3,4,5\n", "line 1 has 1 field, but most lines have 3; .*skip_rows: 1"),
            (b"a,b\n1,caf\xe9\n", r"not utf8 text \(byte 0xE9 in line 2\); .*latin-1"),
            ("a,b\n1,2\n".encode("utf-16"), "UTF-16 text; say `data.read.encoding: utf-16`"),
            (b"a,b\r1,2\r", "bare carriage returns"),
            (b"PAR1xxxx", "its name ends in '.csv', but its bytes are Parquet; rename it"),
            (b'{"a": 1}\n', "its bytes are NDJSON"),
            (b'[\n{"a": 1}]\n', "is a JSON array; write one JSON object per line"),
            (b"BZh9xxx", "bzip2-compressed; decompress"),
            (b"SQLite format 3\x00", "an SQLite database; export"),
            (b"a\x00\x01\x02", "a binary file of unknown kind"),
            (
                gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-40],
                "cannot be decompressed, so it is damaged or cut short",
            ),
        ],
    )
    def test_content(self, tmp_path: Path, content: bytes, sentence: str) -> None:
        with pytest.raises(DataError, match=f"(?s)table.csv.*{sentence}"):
            read(write(tmp_path, content))

    def test_bytes_that_are_not_what_the_ending_says(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"ends in '.parquet', but its bytes are CSV text; .*`data.read.format: csv`"
        ):
            read(write(tmp_path, "a,b\n1,2\n", "t.parquet"))
        with pytest.raises(DataError, match=r"`data.read.format` says ipc, but its bytes are CSV text"):
            read(write(tmp_path, "a,b\n1,2\n"), format="ipc")

    def test_damaged_parquet_and_json(self, tmp_path: Path) -> None:
        TABLE.write_parquet(tmp_path / "t.parquet")
        cut = (tmp_path / "t.parquet").read_bytes()[:-20]
        with pytest.raises(DataError, match=r"t.parquet is damaged or cut short"):
            read(write(tmp_path, cut, "t.parquet"))
        with pytest.raises(DataError, match=r"t.ndjson: line 2 is no JSON \(Expecting ',' delimiter"):
            read(write(tmp_path, '{"a": 1}\n{"a": 1', "t.ndjson"))

    def test_empty_parquet(self, tmp_path: Path) -> None:
        TABLE.clear().write_parquet(tmp_path / "t.parquet")
        with pytest.raises(DataError, match="has no rows"):
            read(tmp_path / "t.parquet")

    def test_zip_that_is_a_workbook_or_no_zip(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
            archive.writestr("[Content_Types].xml", "<x/>")
        with pytest.raises(DataError, match=r"Office document \(Excel\?\); save its sheet as CSV"):
            read(tmp_path / "t.xlsx")
        with pytest.raises(DataError, match="cannot be unpacked"):
            read(write(tmp_path, b"PK\x03\x04garbage", "t.zip"))

    def test_late_faults_name_the_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 1_000)
        rows = b"a,b\n" + b"1,2\n" * 5_000
        with pytest.raises(DataError, match="line 5002 has 3 fields"):
            read(write(tmp_path, rows + b"1,2,3\n"))
        with pytest.raises(DataError, match=r"byte 0xE9 in line 5002"):
            read(write(tmp_path, rows + b"1,\xe9\n"))

    def test_glob_of_unlike_files(self, tmp_path: Path) -> None:
        write(tmp_path, "a,b\n1,x\n", "part-1.csv")
        write(tmp_path, "b,a\nx,2\n", "part-2.csv")
        with pytest.raises(DataError, match=r"part-2.csv has other columns \(b, a\) than .*part-1.csv \(a, b\)"):
            read(tmp_path / "part-*.csv")
        TABLE.write_parquet(tmp_path / "part-3.parquet")
        with pytest.raises(DataError, match=r"several formats \(csv, parquet\)"):
            read(tmp_path / "part-*")

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"format": "cvs"}, "`data.read.format` is 'cvs'. Did you mean 'csv'"),
            ({"separator": ", "}, "`data.read.separator` is ', '; it has to be one character"),
            ({"skip_rows": -1}, "has to be 0 or more"),
            ({"quote": "''"}, "has to be one character"),
            ({"encoding": "latin-x"}, "which Python does not know"),
        ],
    )
    def test_options(self, options: dict[str, object], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            ReadOptions(**options)  # type: ignore[arg-type]


class TestComments:
    """Lines that start with `data.read.comment` are no rows, wherever a file is looked at."""

    TEXT = '# a "remark, with; all\n\n#\na,b,c\n# x\n1,"two\n# in quotes",01\n#,,\n3,"four",02\n'

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("start", ["", "\ufeff"])
    def test_they_are_left_out(self, tmp_path: Path, start: str, end: str) -> None:
        path = write(tmp_path, (start + self.TEXT).replace("\n", end))
        options = detect_options(path, ReadOptions(comment="#"))
        assert (options.separator, options.header, options.comment) == (",", True, "#")
        expected = [(1, f"two{end}# in quotes", "01"), (3, "four", "02")]
        assert scan(path, options).collect().rows() == expected
        assert read(path, comment="#").columns == ["a", "b", "c"]

    def test_without_a_header_and_below_skipped_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path, "A title\n|1x3 Cross validator\n1, x\n|2\n2, y\n")
        frame = read(path, comment="|", skip_rows=1, header=False)
        assert frame.rows() == [(1, "x"), (2, "y")]

    def test_of_several_letters(self, tmp_path: Path) -> None:
        frame = read(write(tmp_path, "// one\na,b\n/1,2\n//\n/3,4\n"), comment="//")
        assert frame.rows() == [("/1", 2), ("/3", 4)]

    def test_in_a_compressed_file_and_another_encoding(self, tmp_path: Path) -> None:
        text = "# ä\na,b\n# ö\n1,ü\n"
        assert read(write(tmp_path, gzip.compress(text.encode())), comment="#").rows() == [(1, "ü")]
        path = write(tmp_path, text.encode("latin-1"), "latin.csv")
        assert read(path, comment="#", encoding="latin-1").rows() == [(1, "ü")]

    def test_quotes_of_a_column_count_without_them(self, tmp_path: Path) -> None:
        text = "code,n\n#,5\n" + "".join(f'"{i}",{i}\n' for i in range(20))
        assert read(write(tmp_path, text), comment="#").dtypes == [pl.String, pl.Int64]

    def test_types_and_lines_behind_the_sample(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 1_000)
        rows = "".join(f'{i},"x {i}"\n# odd " quote\n' for i in range(300))
        frame = read(write(tmp_path, "# a\na,b\n" + rows + "word,y\n"), comment="#")
        assert frame.height == 301
        assert frame.row(-1) == ("word", "y")
        with pytest.raises(DataError, match=r"table\.csv: line 603 has 3 fields, but there are 2 columns"):
            read(write(tmp_path, "# a\na,b\n" + rows + "1,2,3\n"), comment="#")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("# x\na,b,c\n\n# y\n1,2,3\n4,5\n", r"line 6 has 2 fields, but there are 3 columns; .*a lone quote\?"),
            ("# x\n# y\n", r"table\.csv has no lines\."),
            ("# x\na,b\n# y\n", r"table\.csv has a header \(a, b\) but no rows"),
        ],
    )
    def test_mistakes_are_told_by_the_lines_of_the_file(self, tmp_path: Path, text: str, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            read(write(tmp_path, text), comment="#")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("# of May\na,b,c\n1,2,3\n3,4,5\n", r"`data\.read\.skip_rows: 1`, or .* `data\.read\.comment: '#'`\.$"),
            ("a,b,c\n1,2,3\n3,4,5\n|1x3 Cross\n", r"line 4 has 1 field, .* remark\? `data\.read\.comment: '\|'`\)\.$"),
        ],
    )
    def test_a_line_that_looks_like_one_is_refused_with_a_hint(self, tmp_path: Path, text: str, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            read(write(tmp_path, text), separator=",")

    @pytest.mark.parametrize("options", [{"comment": ""}, {"comment": '"'}, {"comment": ";", "separator": ";"}])
    def test_what_cannot_start_one(self, options: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match=r"`data\.read\.comment` is "):
            ReadOptions(**options)  # type: ignore[arg-type]


class TestUrl:
    @pytest.fixture
    def url(self) -> Iterator[str]:
        """A server with one small file that can be asked for ranges of bytes, as object stores can."""
        content = b"a,b\n1,x\n2.5,?\n\n"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(b"")

            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                start, end = asked.removeprefix("bytes=").split("-") if asked else ("0", "")
                last = min(int(end or len(content)), len(content) - 1)
                self.answer(content[int(start) : last + 1], f"bytes {start}-{last}/{len(content)}")

            def answer(self, body: bytes, span: str = "") -> None:
                found = self.path.startswith("/t.csv")
                self.send_response((206 if span else 200) if found else 404)
                self.send_header("Content-Length", str(len(body or content)) if found else "0")
                if span:
                    self.send_header("Content-Range", span)
                self.end_headers()
                if found:
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_read(self, url: str) -> None:
        assert read(f"{url}/t.csv").rows() == [(1.0, "x"), (2.5, None)]
        assert detect_options(f"{url}/t.csv").separator == ","

    def test_not_there(self, url: str) -> None:
        with pytest.raises(DataError, match=r"other.csv cannot be opened: .*not found"):
            read(f"{url}/other.csv")


class TestInOnePass:
    """`read` gives what `scan` gives, whatever turns up behind the first lines."""

    @pytest.fixture(autouse=True)
    def short_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "SAMPLE_BYTES", 60)

    @pytest.mark.parametrize(
        "late", ["", "word,2.5,red\n", "\n", "  \n1,2,x\n", "3,NA,?\n", "00012,1,red\n", "1.5,,\n"]
    )
    def test_the_same_as_a_scan(self, tmp_path: Path, late: str) -> None:
        frame = read(write(tmp_path, "a,b,c\n" + "1,2.5,red\n" * 20 + late))
        assert frame.height == 20 + late.count(",red") + late.count(",x") + late.count("?") + late.count(",,")

    @pytest.mark.parametrize("word", DEFAULT_NULL_VALUES)
    @pytest.mark.parametrize("quote", ["", '"'])
    def test_a_late_word_for_missing_is_missing(self, tmp_path: Path, word: str, quote: str) -> None:
        rows = "1,2.5,red,true\n" * 20
        for column, row in enumerate(["{},2.5,red,true", "1,{},red,true", "1,2.5,{},true", "1,2.5,red,{}"]):
            late = row.format(f"{quote}{word}{quote}") + "\n"
            frame = read(write(tmp_path, "a,b,c,d\n" + rows + late + rows))
            assert frame.to_series(column).is_null().arg_true().to_list() == [20]

    def test_words_in_the_sample_are_looked_for_by_the_parser(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path, "a,b,c\n1,NA,red\n" + "1,2.5,red\n" * 20 + "1,NA,NA\n")
        monkeypatch.setattr(csvscan, "_check", None)  # what a second pass would call
        assert reading.read(path)[0]["c"].null_count() == 1

    def test_the_file_is_parsed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise AssertionError

        path = write(tmp_path, "a,b,c\n" + "1,2.5,red\n" * 20)
        monkeypatch.setattr(csvscan, "_check", fail)
        assert reading.read(path)[0].height == 20

    def test_ragged_lines_are_refused_all_the_same(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a,b,c\n" + "1,2.5,red\n" * 20 + "1,2,red,4\n")
        with pytest.raises(DataError, match=r"table\.csv.*line 22"):
            reading.read(path)

    @pytest.mark.parametrize("late", ["", "word,2.5,red\n"])
    def test_only_what_is_asked_for_is_held(self, tmp_path: Path, late: str) -> None:
        path = write(tmp_path, "a,b,c\n" + "1,2.5,red\n" * 20 + late)
        frame, _ = reading.read(path, columns=lambda _: [pl.col("c").cast(pl.Categorical), pl.col("b") * 2])
        assert frame.columns == ["c", "b"]
        assert frame["b"][0] == 5.0

    def test_another_format(self, tmp_path: Path) -> None:
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}).write_parquet(tmp_path / "t.parquet")
        frame, options = reading.read(tmp_path / "t.parquet", columns=lambda _: [pl.col("b")])
        assert (frame.to_dict(as_series=False), options.format) == ({"b": ["x", None]}, "parquet")
