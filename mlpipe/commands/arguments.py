"""The words of the command line: every verb with its options, and nothing that takes time to import.

The options are a contract that scripts rely on; `tests/golden/command_line.txt` freezes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mlpipe.bundle.manifest import BACKENDS
from mlpipe.commands.models_options import models
from mlpipe.commands.serve_options import serve
from mlpipe.commands.values import amount, count, port, several
from mlpipe.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are a `ConfigError` of one sentence, and which takes no abbreviations."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(f"{self.prog}: {message}; `{self.prog} --help` shows what is possible.")

    def commands(self) -> Mapping[str, Parser]:
        """The parsers of the commands that this one's verb has, by name; empty for a verb of its own."""
        actions = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return actions[0].choices if actions else {}

    def check_options(self, words: Sequence[str]) -> None:
        """Refuse long options that this parser doesn't have, before it complains about anything that follows from it.

        Raises:
            ConfigError: An option, or a verb's command, is unknown; the sentence names the closest one.
        """
        commands = self.commands()
        if commands and words and not words[0].startswith("-"):
            if words[0] not in commands:
                raise ConfigError(f"{self.prog} has no command {words[0]!r}.{did_you_mean(words[0], commands)}")
            commands[words[0]].check_options(words[1:])
            return
        for word in words:
            if word == "--":
                return
            name = word.split("=", 1)[0]
            if name.startswith("--") and name not in self._option_string_actions:
                known = [option for option in self._option_string_actions if option.startswith("--")]
                raise ConfigError(f"{self.prog}: there is no option {name!r}.{did_you_mean(name, known)}")


def common() -> Parser:
    """The options that every verb has; they may stand anywhere on the line."""
    parser = Parser(prog="mlpipe", add_help=False)
    _output(parser)
    return parser


def _output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--log",
        choices=("rich", "plain", "json"),
        help="form of the log on stderr (default: rich at a terminal, plain elsewhere)",
    )
    group.add_argument("--quiet", action="store_true", help="warnings and errors only")
    group.add_argument("--debug", action="store_true", help="more of the log, and the traceback of an error")


def _init(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", help="the table: CSV, TSV, Parquet, Arrow IPC or NDJSON")
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        action="append",
        help="the column to predict, or `first` or `last`; given several times: multilabel",
    )
    parser.add_argument("--out", metavar="CONFIG", help="the config to write (default: DATA's name, ending in .yaml)")
    parser.add_argument(
        "--read",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="how to read DATA, as `data.read` of a config says it: encoding=latin-1, skip_rows=2, header=false, …; "
        "may be given several times",
    )
    parser.add_argument("--task", choices=("binary", "multiclass", "multilabel", "regression"), help="if not inferred")
    parser.add_argument("--time", metavar="COLUMN", help="split in time by this column")
    parser.add_argument("--group", metavar="COLUMN", help="keep rows of one group on one side of the split")
    parser.add_argument(
        "--preset",
        choices=("fast", "default", "best"),
        default="default",
        help="fast: soon done; best: the best score, time no object (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite CONFIG")


def _fit(parser: Parser) -> None:
    parser.add_argument("--run", metavar="DIR", help="the run directory (default: a new one below runs/)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run directory")


def _crossval(parser: Parser) -> None:
    parser.add_argument("--folds", metavar="N", type=several, help="how many (default: 5)")
    parser.add_argument("--repeats", metavar="N", type=count, help="how often the table is cut anew (default: once)")
    parser.add_argument("--run", metavar="DIR", help="the folder for all folds (default: a new one below runs/)")
    parser.add_argument("--resume", action="store_true", help="go on with the first fold of DIR that is not finished")
    parser.add_argument("--average", action="store_true", help="write the fold models, averaged, as DIR/bundle")
    parser.add_argument("--bundle", metavar="BUNDLE", help="write the fold models, averaged, as this bundle")
    parser.add_argument("--force", action="store_true", help="overwrite BUNDLE")


def _baselines(parser: Parser) -> None:
    parser.add_argument("--run", metavar="DIR", help="a finished run to compare with; one that is not there is trained")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these models alone; mlpipe is ours (default: all)")
    parser.add_argument("--out", metavar="DIR", help="write baselines.md and baselines.json into this folder")
    parser.add_argument("--force", action="store_true", help="overwrite those two files")


def _evaluate(parser: Parser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="the run directory that `mlpipe fit` left")
    parser.add_argument("--data", metavar="FILE", help="a labelled file to evaluate on instead of the run's own rows")


def _predict(parser: Parser) -> None:
    parser.add_argument("--bundle", metavar="BUNDLE", required=True, help="the bundle that `mlpipe export` wrote")
    parser.add_argument("--data", metavar="FILE", required=True, help="the rows to predict")
    parser.add_argument("--out", metavar="FILE", required=True, help="the predictions: .csv, .parquet, .ndjson, …")
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help="what runs it (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite the --out FILE")


def _drift(parser: Parser) -> None:
    parser.add_argument("--bundle", metavar="BUNDLE", required=True, help="the bundle that `mlpipe export` wrote")
    parser.add_argument("--data", metavar="FILE", required=True, help="the rows to compare with those of training")
    parser.add_argument("--out", metavar="FILE", help="write what is found as this .json file")
    parser.add_argument("--plot", metavar="FILE", help="draw the worst features and the prediction: .png, .pdf or .svg")
    parser.add_argument(
        "--threshold",
        metavar="PSI",
        type=amount,
        default=0.25,
        help="the population stability index that is too large (default: %(default)s)",
    )
    parser.add_argument(
        "--without",
        metavar="COLUMN",
        action="append",
        default=[],
        help="leave this feature out, as a request log with --redact does; may be given several times",
    )
    parser.add_argument("--fail", action="store_true", help="leave with exit code 3 if one is too large")
    parser.add_argument("--force", action="store_true", help="overwrite the files of --out and --plot")


def _export(parser: Parser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="the run directory that `mlpipe fit` left")
    parser.add_argument("--out", metavar="BUNDLE", required=True, help="the folder to write")
    parser.add_argument(
        "--onnx", action="store_true", help="put the network into it as ONNX too, checked against torch"
    )
    parser.add_argument("--int8", action="store_true", help="as --onnx, and once more with weights of 8 bits")
    parser.add_argument("--force", action="store_true", help="overwrite BUNDLE")


def _ui(parser: Parser) -> None:
    parser.add_argument(
        "--store",
        metavar="URI",
        default="sqlite:///runs/mlflow.db",
        help="where the runs were tracked (default: %(default)s)",
    )
    parser.add_argument("--port", type=port, default=5000, help="(default: %(default)s)")


def _example(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", choices=("flights",), help="which table: flights")
    parser.add_argument("--out", metavar="FILE", required=True, help="the file to write: .parquet, .csv, …")
    parser.add_argument("--force", action="store_true", help="overwrite the --out FILE")


@dataclass(frozen=True)
class Verb:
    """One word of the command line.

    Attributes:
        help: What it does, in one line.
        add_arguments: Puts its options on a parser.
        takes_rest: What the parser doesn't know is handed on as `args.rest` instead of being refused.
    """

    help: str
    add_arguments: Callable[[Parser], None]
    takes_rest: bool = False


VERBS = {
    "init": Verb("look at a table and write a config for it", _init),
    "fit": Verb("train as a config says: --config FILE, and overrides as --group.key VALUE", _fit, takes_rest=True),
    "crossval": Verb("train and score a model for each fold of a table, as a config says", _crossval, takes_rest=True),
    "validate": Verb("score a run's best checkpoint on its validation rows, or on a file", _evaluate),
    "test": Verb("score a run's best checkpoint on its test rows, or on a file", _evaluate),
    "baselines": Verb(
        "measure other models on the same rows: --config FILE, and overrides as for fit", _baselines, takes_rest=True
    ),
    "predict": Verb("score a file with a bundle", _predict),
    "drift": Verb("compare the rows of a file with those of training", _drift),
    "export": Verb("turn a run into a bundle", _export),
    "serve": Verb("put a bundle behind HTTP", serve),
    "models": Verb("register versions of bundles, promote, roll back and compare them", models),
    "ui": Verb("look at the tracked runs in MLflow's UI", _ui),
    "example": Verb("write an example table", _example),
}


def build_parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the help page, and one parser for each verb."""
    top = Parser(
        prog="mlpipe",
        description="One config takes a table to a served Transformer.",
        epilog="`mlpipe VERB --help` shows the options of a verb.",
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", parser_class=Parser)
    parsers = {}
    for name, verb in VERBS.items():
        # With a config its help is in the help, which `mlpipe.commands.fit` knows.
        parser = verbs.add_parser(
            name, help=verb.help, description=verb.help, parents=[common()], add_help=not verb.takes_rest
        )
        verb.add_arguments(parser)
        for command in parser.commands().values():
            # What was parsed of these already must not be overwritten by a command's defaults.
            command.argument_default = argparse.SUPPRESS
            _output(command)
        parsers[name] = parser
    return top, parsers
