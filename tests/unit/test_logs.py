from __future__ import annotations

import json
import logging
import warnings
from datetime import UTC, datetime
from typing import Any

import pytest

from mlpipe.errors import DataError
from mlpipe.logs import Mode, configure_logging, log_execution_time, logged

logger = logging.getLogger("mlpipe.test")


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.rstrip().split("\n")[-1]


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(last_line(capsys))
    return line


def test_a_json_line_has_time_level_logger_message_and_the_extra_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    before = datetime.now(UTC)
    logger.info("Read %s", "t.csv", extra={"rows": 10, "path": object, "message_id": "é"})
    line = last_json(capsys)
    assert abs((datetime.fromisoformat(line.pop("time")) - before).total_seconds()) < 3600
    assert line == {
        "level": "info",
        "logger": "mlpipe.test",
        "message": "Read t.csv",
        "rows": 10,
        "path": "<class 'object'>",
        "message_id": "é",
    }


def test_a_json_line_stays_one_line_with_a_traceback_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("Two\nlines")
    line = last_json(capsys)
    assert line["message"] == "Two\nlines"
    assert line["traceback"].endswith("KeyError: 'gone'")


def test_extra_fields_cannot_displace_the_fixed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    logger.info("hello", extra={"level": "mine", "logger": "mine"})
    assert (line := last_json(capsys))["level"] == "info"
    assert line["logger"] == "mlpipe.test"


def test_plain_text_shows_the_fields_and_the_level_of_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("plain")
    logger.info("Read", extra={"rows": 10})
    logger.warning("Odd")
    assert capsys.readouterr().err == "Read rows=10\nwarning: Odd\n"


def test_plain_text_ends_with_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("plain")
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("Lost")
    assert capsys.readouterr().err.startswith("error: Lost\nTraceback")


def test_rich_shows_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("rich")
    logger.info("Read", extra={"rows": 10})
    assert "Read rows=10" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "shown"), [("plain", ["info", "warning"]), ("quiet", ["warning"])])
def test_quiet_leaves_warnings(mode: Mode, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(mode)
    logger.info("an info")
    logger.warning("a warning")
    err = capsys.readouterr().err
    assert [word for word in ("info", "warning") if f"{word}\n" in err] == shown


def test_other_libraries_are_shown_from_warnings_up(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("plain", logging.DEBUG)
    logging.getLogger("somebody.else").info("Working")
    logging.getLogger("somebody.else").warning("Not working")
    logger.debug("Ours")
    assert capsys.readouterr().err == "warning: Not working\nOurs\n"


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("plain")
    configure_logging("json")
    logger.info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_python_warnings_become_log_lines_without_file_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging("plain")
        warnings.warn("few rows:\nonly 3", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert capsys.readouterr().err == "warning: few rows: only 3\n"


def test_the_time_of_a_block_is_a_field(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlpipe"), log_execution_time("fit", logger, rows=10):
        pass
    (record,) = caplog.records
    assert record.getMessage() == "fit done"
    assert record.__dict__["rows"] == 10
    assert record.__dict__["seconds"] >= 0


def test_a_block_that_fails_says_so_and_why(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), log_execution_time("fit", logger, rows=10):
        raise KeyError("gone")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "fit failed")
    assert record.__dict__["error"] == "KeyError: 'gone'"
    assert record.__dict__["seconds"] >= 0


def test_a_users_mistake_is_left_to_whoever_catches_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mlpipe"), pytest.raises(DataError), log_execution_time("fit", logger):
        raise DataError("There is no column 'a'.")
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_logged_keeps_name_arguments_and_result_of_a_method(caplog: pytest.LogCaptureFixture) -> None:
    class Adder:
        @logged("add", logger)
        def add(self, left: int, *, right: int = 1) -> int:
            """Add."""
            return left + right

    with caplog.at_level(logging.INFO, "mlpipe"):
        assert Adder().add(2, right=3) == 5
    assert [record.getMessage() for record in caplog.records] == ["add done"]
    assert (Adder.add.__name__, Adder.add.__doc__) == ("add", "Add.")


def test_logged_uses_the_functions_own_name_and_logger(caplog: pytest.LogCaptureFixture) -> None:
    @logged()
    def broken() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        broken()
    (record,) = caplog.records
    assert record.name == __name__
    assert record.getMessage().endswith("broken failed")
