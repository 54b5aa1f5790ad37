"""The config of a run: LightningCLI's parser over our groups.

`data`, `features`, `model`, `training`, `tracking` are dataclasses, `trainer` is Lightning's own; what jsonargparse
offers (several `--config`, dotted overrides, `--print_config`, environment variables, help per group) comes with it.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import ArgumentError, Namespace, set_dumper
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from mlpipe.data.config import DataConfig
from mlpipe.data.split import check_seed
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.config import FeaturesConfig
from mlpipe.models import TransformerConfig
from mlpipe.schema import TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.configfile import check_config_files, looks_like_table
from mlpipe.training.configtext import dump_config
from mlpipe.training.outcome import check_kind
from mlpipe.training.tracking import TrackingConfig
from mlpipe.training.trainer_group import check_monitors, check_trainer
from mlpipe.training.variables import PREFIX, refuse_unknown_variables

GROUPS: dict[str, type[Any]] = {
    "data": DataConfig,
    "features": FeaturesConfig,
    "model": TransformerConfig,
    "training": TrainingConfig,
    "tracking": TrackingConfig,
}

#: What the run decides itself, and where it can be said instead.
RESERVED_TRAINER_KEYS = {
    "logger": "the `tracking` group says where a run is tracked",
    "default_root_dir": "`mlpipe fit --run DIR` names the run's folder",
    "enable_checkpointing": "every run keeps its best and its last checkpoint",
}

set_dumper("yaml", dump_config)  # of `--print_config` too


@dataclass(frozen=True)
class RunConfig:
    """A parsed config.

    Attributes:
        trainer: Arguments for `lightning.Trainer`, callbacks instantiated.
        text: The whole config as YAML, defaults included; reading it again gives the same run.
    """

    data: DataConfig
    features: FeaturesConfig
    model: TransformerConfig
    training: TrainingConfig
    tracking: TrackingConfig
    trainer: dict[str, Any]
    seed: int
    text: str

    @property
    def values(self) -> dict[str, Any]:
        """The config as nested plain values."""
        values: dict[str, Any] = yaml.safe_load(self.text)
        return values


class ConfigCLI(LightningCLI):
    """LightningCLI with our groups in place of a model and a data class; it parses and instantiates nothing heavy."""

    def __init__(self, args: Sequence[str]) -> None:
        super().__init__(
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={
                "prog": "mlpipe fit",
                "description": "Train a model as a config says. Later --config files and flags win.",
                "exit_on_error": False,
                "default_env": True,
                "env_prefix": PREFIX,
                "allow_abbrev": False,
            },
            args=list(args),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our groups, and the Trainer's arguments."""
        for group, config in GROUPS.items():
            parser.add_class_arguments(config, group)
        skip = set(RESERVED_TRAINER_KEYS)
        parser.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip=skip)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; an error becomes one sentence."""
        with one_sentence():
            self.config = parser.parse_args(args)

    def _set_seed(self) -> None:
        """The run seeds what it does step by step; nothing is seeded globally here."""

    def instantiate_classes(self) -> None:
        """The groups as dataclasses; no model, no data, no Trainer yet."""
        with one_sentence():
            self.config_init = self.parser.instantiate_classes(self.config)


def parse_config(args: Sequence[str]) -> RunConfig:
    """Parse the arguments of `mlpipe fit`.

    Raises:
        ConfigError: A file, key or value is wrong, or an environment variable looks like a key and is none.
        SystemExit: `--help` or `--print_config` has been printed.
    """
    check_config_files(args)
    if not {"-h", "--help"} & set(args):
        refuse_unknown_variables(os.environ, known_keys())
    cli = ConfigCLI(args)
    init: Namespace = cli.config_init
    with one_sentence():
        text = cli.parser.dump(cli.config, skip_none=False, format="yaml")
    seed = init["seed_everything"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"`seed_everything` is {seed!r}; it has to be a whole number: a run without one has no twin.")
    check_seed("seed_everything", seed)
    trainer = init["trainer"].as_dict() if isinstance(init["trainer"], Namespace) else dict(init["trainer"])
    check_trainer(trainer)
    if init["data"].task is not None:  # otherwise it is inferred, and checked then
        kind = TaskKind(init["data"].task)
        check_kind(init["training"], kind)
        check_monitors(trainer, init["training"], kind)
    return RunConfig(
        **{group: init[group] for group in GROUPS},
        trainer=trainer,
        seed=seed,
        text=text,
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what jsonargparse says of a wrong config into one sentence with the closest right key."""
    try:
        yield
    except ConfigError:
        raise
    except (ArgumentError, TypeError, ValueError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(explain(str(error))) from error


def explain(message: str) -> str:
    """One sentence for an error of jsonargparse.

    Examples:
        >>> explain("Validation failed: Group 'model' does not accept nested key 'widht'")
        "Unknown key 'model.widht'. Did you mean 'model.width'?"
    """
    text = re.sub(r"^(Validation failed: |error: )+", "", " ".join(message.split()))
    if found := re.match(r"unrecognized arguments: (?P<word>[^-].*?)(?: -|$)", text):
        return _lost_word(found["word"])
    for pattern in (
        r"Group '(?P<group>[\w.]+)' does not accept (?:nested key|option) '(?P<key>[\w.]+)'",
        r"[Kk]ey \"(?P<key>[\w.]+)\" is not expected",
        r"[Uu]nrecognized arguments: --(?P<key>[\w.]+)",
        r"Unknown key '(?P<key>[\w.]+)'",
        r"^Option '(?P<key>[\w.]+)' is not accepted",
        r"No action for key \"(?P<key>[\w.]+)\"",
    ):
        if found := re.search(pattern, text):
            group = found.groupdict().get("group")
            return _unknown(f"{group}.{found['key']}" if group else found["key"])
    if found := re.search(r"[Kk]ey \"(?P<key>[\w.]+)\" is required|arguments are required: (?P<keys>[\w.]+)", text):
        key = found["key"] or found["keys"]
        return f"`{key}` is missing; set it in the config or as --{key}."
    if found := re.match(r"Parser key \"(?P<key>[\w.]+)\": (?P<rest>.*)", text):
        return _wrong_value(found["key"], found["rest"])
    return text


def _lost_word(word: str) -> str:
    """A word that belongs to no option: a table, a config, something else."""
    quoted = shlex.quote(word)
    if looks_like_table(word):
        return f"{word} is a table, no config; `mlpipe init {quoted} --target COLUMN` writes one for it."
    if Path(word).suffix.lower() in (".yaml", ".yml"):
        return f"{word} belongs to no option; a config is given by `--config {quoted}`."
    return f"{word!r} belongs to no option; `mlpipe fit --help` shows what there is."


def _unknown(key: str) -> str:
    group, _, name = key.partition(".")
    if group == "trainer" and name in RESERVED_TRAINER_KEYS:
        return f"`{key}` cannot be set: {RESERVED_TRAINER_KEYS[name]}."
    return f"Unknown key {key!r}.{did_you_mean(key, known_keys())}"


def _wrong_value(key: str, text: str) -> str:
    """What is wrong with the value of a key; jsonargparse lists all types that it has tried."""
    if found := re.search(r"Problem with given class_path '(?P<path>[^']*)': (?P<why>.*?)(?: - |$)", text):
        return f"`{key}`: {found['path']!r}: {found['why']}."
    if found := re.search(r"Subtypes: \[(?P<types>.*?)\] Errors: .* Given value: (?P<value>.*)", text):
        types = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal\[(.*?)\]", r"\1\2", found["types"])
        # Words without quotes, as YAML takes them; numbers that are allowed as text too are there twice.
        words = dict.fromkeys(word.strip("'") for word in types.replace("NoneType", "null").split(", "))
        return f"`{key}` is {found['value']}; it has to be one of: {', '.join(words)}."
    if found := re.match(r"Expected an? <class '(?:\w+\.)*(?P<type>\w+)'>. Got value: (?P<value>.*)", text):
        return f"`{key}` is {found['value']!r}; it has to be of the type {found['type']}."
    return f"`{key}`: {text}"


def known_keys() -> list[str]:
    """All dotted keys of a config."""

    def below(prefix: str, record: type[Any]) -> Iterator[str]:
        for item in fields(record):
            yield f"{prefix}.{item.name}"
            if is_dataclass(default := getattr(item, "default_factory", None)) and isinstance(default, type):
                yield from below(f"{prefix}.{item.name}", default)

    keys = [key for group, record in GROUPS.items() for key in below(group, record)]
    arguments = inspect.signature(L.Trainer).parameters
    trainer = [f"trainer.{name}" for name in arguments if name not in RESERVED_TRAINER_KEYS]
    return [*GROUPS, "trainer", "seed_everything", "config", *keys, *trainer]


def config_from_file(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config that a run has saved, with flags on top."""
    return parse_config(["--config", str(path), *overrides])
