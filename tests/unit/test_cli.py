from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpipe import __version__
from mlpipe.cli import main
from mlpipe.commands.arguments import VERBS, build_parsers
from mlpipe.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "command_line.txt"
HEAVY = ("torch", "lightning", "polars", "numpy", "sklearn", "mlflow", "litserve", "jsonargparse", "rich")

Run = Callable[[argparse.Namespace], int]


class Recorder:
    """A verb that keeps what it was called with."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[argparse.Namespace] = []

    def __call__(self, args: argparse.Namespace) -> int:
        self.calls.append(args)
        return self.code


def raising(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.fixture
def replace_verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Run], None]:
    """Let a verb's module be one that has the given `run`."""

    def replace(verb: str, run: Run) -> None:
        real = importlib.import_module

        class Module:
            def __init__(self) -> None:
                self.run = run

        def import_module(name: str, package: str | None = None) -> object:
            return Module() if name == f"mlpipe.commands.{verb}" else real(name, package)

        monkeypatch.setattr(importlib, "import_module", import_module)

    return replace


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["serve", "--help"],
        ["models", "diff", "--help"],
        ["--version"],
        ["fti"],
        ["serve", "B", "--prot", "8"],
    ],
)
def test_help_and_typos_load_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from mlpipe.cli import main; main({words!r}); print('|', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.rsplit("|", 1)[1].split()
    assert "mlpipe.cli" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_one_help_page_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ") and line.strip()
    ]
    assert [name for name in listed if name in VERBS] == list(VERBS)


def test_every_verb_has_a_module() -> None:
    for verb in VERBS:
        assert importlib.util.find_spec(f"mlpipe.commands.{verb}") is not None, verb


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlpipe {__version__}\n"


def test_no_words_show_the_help_page_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: mlpipe")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("fti", "mlpipe has no command 'fti'. Did you mean 'fit'?"),
        ("--zzz 80", "mlpipe has no option '--zzz'. There are: "),
        ("serve --prot 80", "mlpipe serve: there is no option '--prot'. Did you mean '--port'?"),
        ("serve B --prot=80", "mlpipe serve: there is no option '--prot'. Did you mean '--port'?"),
        ("predict --bundel B", "mlpipe predict: there is no option '--bundel'. Did you mean '--bundle'?"),
        ("serve B --por 80", "mlpipe serve: there is no option '--por'. Did you mean '--port'?"),
        ("serve B --port x", "mlpipe serve: argument --port: 'x' is no port; it has to be a number from 1 to 65535;"),
        ("serve B --port 65536", "mlpipe serve: argument --port: '65536' is no port;"),
        (
            "serve B --workers 0",
            "mlpipe serve: argument --workers: '0' is no count; it has to be a whole number from 1;",
        ),
        ("crossval --folds 1", "mlpipe crossval: argument --folds: '1' has to be a whole number from 2;"),
        ("serve", "mlpipe serve: the following arguments are required: BUNDLE;"),
        ("serve B C", "mlpipe serve: unrecognized arguments: C;"),
        ("serve B --log jsn", "mlpipe: argument --log: invalid choice: 'jsn'"),
        ("models", "mlpipe models: the following arguments are required: COMMAND;"),
        ("models lsit", "mlpipe models has no command 'lsit'. Did you mean 'list'?"),
        ("models list --jsn", "mlpipe models list: there is no option '--jsn'. Did you mean '--json'?"),
        ("models promote m 0", "mlpipe models promote: argument NUMBER: '0' is no count;"),
        ("example iris --out x.csv", "mlpipe example: argument NAME: invalid choice: 'iris'"),
    ],
)
def test_a_typo_is_one_sentence_and_exit_code_2(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {sentence}")
    assert captured.err.count("\n") == 1


def test_values_are_parsed(replace_verb: Callable[[str, Run], None]) -> None:
    verb = Recorder()
    replace_verb("serve", verb)
    assert main(["serve", "--port", "9000", "--workers=2", "--", "--bundle"]) == 0
    (args,) = verb.calls
    assert (args.port, args.workers, args.bundle) == (9000, 2, "--bundle")


def test_the_words_after_fit_are_handed_on_in_order(replace_verb: Callable[[str, Run], None]) -> None:
    verb = Recorder()
    replace_verb("fit", verb)
    line = "fit --config a.yaml --run r --config b.yaml --quiet --model.width=32 --trainer.max_epochs 3 --resume --help"
    assert main(line.split()) == 0
    (args,) = verb.calls
    assert " ".join(args.rest) == "--config a.yaml --config b.yaml --model.width=32 --trainer.max_epochs 3 --help"
    assert (args.run, args.resume, args.quiet, args.log) == ("r", True, True, "plain")


@pytest.mark.parametrize("line", ["--quiet --log json serve B", "serve --log json B --quiet"])
def test_common_options_may_stand_anywhere(line: str, replace_verb: Callable[[str, Run], None]) -> None:
    verb = Recorder(code=7)
    replace_verb("serve", verb)
    assert main(line.split()) == 7
    (args,) = verb.calls
    assert (args.bundle, args.port, args.log, args.quiet, args.debug) == ("B", 8000, "json", True, False)


def test_a_users_mistake_is_told_without_a_traceback(
    replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    replace_verb("serve", raising(DataError("There is no column 'a'.")))
    assert main(["serve", "B"]) == 2
    assert capsys.readouterr().err == "error: There is no column 'a'.\n"


def test_debug_adds_the_traceback(replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    replace_verb("serve", raising(DataError("There is no column 'a'.")))
    assert main(["serve", "B", "--debug"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("error: There is no column 'a'.\n")


def test_an_error_is_a_json_line_where_the_log_is(
    replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    replace_verb("serve", raising(DataError("There is no column 'a'.")))
    assert main(["serve", "B", "--log", "json", "--quiet"]) == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("error", "There is no column 'a'.")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "runs/a: Permission denied; choose a place "),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room there"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "t.csv/a"), "t.csv/a: Not a directory; a part of the"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "runs"), "runs: Is a directory; name a file instead."),
        (OSError(errno.EBUSY, "Device or resource busy", "a"), "a: Device or resource busy; choose a place that"),
        # As Polars raises it.
        (OSError("No space left on device (os error 28)"), "No space left on device; make room there"),
    ],
)
def test_a_place_that_cannot_be_used_is_named_without_a_traceback(
    replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str], error: OSError, sentence: str
) -> None:
    replace_verb("serve", raising(error))
    assert main(["serve", "B"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1
    assert main(["serve", "B", "--debug"]) == 2
    assert capsys.readouterr().err.startswith("Traceback")


def test_other_errors_of_the_system_are_ours(
    replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    replace_verb("serve", raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")))
    assert main(["serve", "B"]) == 1
    assert "please report it" in capsys.readouterr().err


def test_our_own_mistake_shows_the_traceback_and_asks_for_a_report(
    replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    replace_verb("serve", raising(KeyError("gone")))
    assert main(["serve", "B"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "please report it" in err.splitlines()[-1]
    assert main(["serve", "B", "--log", "json"]) == 1
    line = json.loads(capsys.readouterr().err)
    assert line["traceback"].endswith("KeyError: 'gone'")


def test_an_interrupt_is_one_line(replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    replace_verb("serve", raising(KeyboardInterrupt()))
    assert main(["serve", "B"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (3, 3), ("gone", 1)])
def test_a_library_that_leaves_sets_the_exit_code(
    code: object, expected: int, replace_verb: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    replace_verb("serve", raising(SystemExit(code)))
    assert main(["serve", "B"]) == expected
    assert capsys.readouterr().err == ("gone\n" if code == "gone" else "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_left_is_no_traceback(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "mlpipe", "--version"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 141
    assert done.stderr == ""


def command_line() -> str:
    """Every verb with its options, one a line: what scripts rely on."""
    lines = []
    verbs = build_parsers()[1]
    commands = {f"{verb} {name}": inner for verb, parser in verbs.items() for name, inner in parser.commands().items()}
    for verb, parser in {**verbs, **commands}.items():
        for action in parser._actions:
            name = "/".join(action.option_strings) or str(action.metavar)
            takes = (
                "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
            )
            choices = f" of {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            default = "" if action.default in (None, False, argparse.SUPPRESS) else f" default {action.default}"
            required = " required" if action.required else ""
            lines.append(f"{verb} {name}{takes}{choices}{default}{required}")
    return "\n".join(lines) + "\n"


def test_the_command_line_is_frozen() -> None:
    """A word that goes breaks somebody's script. On purpose: MLPIPE_REGENERATE=1 pytest tests/unit/test_cli.py."""
    if os.environ.get("MLPIPE_REGENERATE"):
        GOLDEN.write_text(command_line(), encoding="utf-8")
    assert command_line() == GOLDEN.read_text(encoding="utf-8")
