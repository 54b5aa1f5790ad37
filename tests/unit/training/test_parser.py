"""The config's parser: which of several sources wins, and that every mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor, Timer

from mlpipe.commands.template import preset_values
from mlpipe.errors import ConfigError
from mlpipe.training.parser import config_from_file, explain, known_keys, parse_config

BASE = """\
data: {path: table.csv, target: y}
model: {width: 32, num_heads: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the config base.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def callbacks(*words: str) -> list[str]:
    found = parse_config(["--config", "base.yaml", *words]).trainer["callbacks"]
    return [type(callback).__name__ for callback in found]


def refusal(*words: str, base: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config([*(["--config", "base.yaml"] if base else []), *words])
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


class TestWhatWins:
    def test_a_later_file_wins_key_by_key(self) -> None:
        write("over.yaml", "model: {width: 48}\ntrainer: {max_epochs: 3}")
        config = parse_config(["--config", "base.yaml", "--config", "over.yaml"])
        assert (config.model.width, config.model.num_heads, config.trainer["max_epochs"]) == (48, 2, 3)
        assert parse_config(["--config", "over.yaml", "--config", "base.yaml"]).model.width == 32

    def test_a_flag_behind_the_files_wins(self) -> None:
        write("over.yaml", "model: {width: 48}")
        words = ["--config", "base.yaml", "--config", "over.yaml", "--model.width", "64", "--training.lr=1e-5"]
        config = parse_config(words)
        assert (config.model.width, config.training.lr) == (64, 1e-5)

    def test_a_key_below_a_record_leaves_its_neighbours(self) -> None:
        write("split.yaml", "data: {split: {validation: 0.3}, columns: {id: ignore}}")
        words = [
            "--config",
            "base.yaml",
            "--config",
            "split.yaml",
            "--data.split.seed",
            "5",
            "--data.columns.x",
            "text",
        ]
        data = parse_config(words).data
        assert (data.split.validation, data.split.seed, data.path) == (0.3, 5, "table.csv")
        assert data.columns == {"id": "ignore", "x": "text"}

    def test_several_targets(self) -> None:
        assert parse_config(["--config", "base.yaml", "--data.target=[a, b]"]).data.target == ["a", "b"]

    def test_environment_variables_lie_between_defaults_and_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLPIPE_TRAINER__MAX_EPOCHS", "7")
        monkeypatch.setenv("MLPIPE_TRAINING__LR", "0.5")
        monkeypatch.setenv("MLPIPE_MODEL__NUM_LAYERS", "5")
        write("over.yaml", "training: {lr: 0.25}")
        config = parse_config(["--config", "base.yaml", "--config", "over.yaml", "--model.num_layers", "1"])
        assert (config.trainer["max_epochs"], config.training.lr, config.model.num_layers) == (7, 0.25, 1)

    def test_an_environment_variable_may_name_a_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLPIPE_CONFIG", write("site.yaml", "model: {width: 48, num_layers: 3}"))
        config = parse_config(["--config", "base.yaml"])
        assert (config.model.width, config.model.num_layers) == (32, 3)

    def test_an_environment_variable_that_sets_no_key_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MLPIPE_MODEL__WIDHT", "8")
        sentence = "The environment variable 'MLPIPE_MODEL__WIDHT' sets no key. Did you mean 'MLPIPE_MODEL__WIDTH'?"
        assert refusal() == sentence
        with pytest.raises(ConfigError, match="MLPIPE_MODEL__WIDHT"):
            config_from_file(Path("base.yaml"))
        with pytest.raises(SystemExit):
            parse_config(["--help"])
        assert "--model.width" in capsys.readouterr().out


class TestCallbacks:
    @pytest.fixture(autouse=True)
    def files(self, folder: Path) -> None:
        write("timer.yaml", "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.Timer}]}")
        write("rate.yaml", "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]}")
        write("more.yaml", "trainer: {callbacks+: [{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]}")

    def test_a_second_list_replaces_the_first(self) -> None:
        assert callbacks("--config", "timer.yaml", "--config", "rate.yaml") == [LearningRateMonitor.__name__]

    @pytest.mark.parametrize(
        "words", [["--config", "more.yaml"], ["--trainer.callbacks+=LearningRateMonitor"]], ids=["file", "flag"]
    )
    def test_a_plus_appends(self, words: list[str]) -> None:
        both = [Timer.__name__, LearningRateMonitor.__name__]
        assert callbacks("--config", "timer.yaml", *words) == both

    def test_their_arguments_survive_saving(self) -> None:
        write("args.yaml", "trainer: {callbacks: [{class_path: Timer, init_args: {duration: '00:00:01:00'}}]}")
        config = parse_config(["--config", "base.yaml", "--config", "args.yaml"])
        again = config_from_file(Path(write("saved.yaml", config.text)))
        assert again.text == config.text
        (timer,) = again.trainer["callbacks"]
        assert timer._duration == 60

    def test_a_callback_that_does_not_exist_is_named(self) -> None:
        text = "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.Tmer}]}"
        assert refusal("--config", write("wrong.yaml", text)) == (
            "`trainer.callbacks`: 'lightning.pytorch.callbacks.Tmer': module 'lightning.pytorch.callbacks' has no "
            "attribute 'Tmer'."
        )

    def test_a_wrong_argument_of_a_callback_is_named(self) -> None:
        text = "trainer: {callbacks: [{class_path: Timer, init_args: {durtion: 1}}]}"
        sentence = refusal("--config", write("wrong.yaml", text))
        assert sentence.startswith("`trainer.callbacks`")
        assert "durtion" in sentence


class TestSaved:
    WORDS = ("--model.width=64", "--training.lr=1e-05", "--seed_everything=3", "--data.columns.x=numeric")

    def test_a_saved_config_reads_back_to_the_same(self) -> None:
        config = parse_config(["--config", "base.yaml", *self.WORDS])
        again = config_from_file(Path(write("saved.yaml", config.text)))
        assert again == config
        assert config.seed == 3
        assert config.values["training"]["lr"] == 1e-5

    def test_flags_go_on_top_of_a_saved_config(self) -> None:
        config = parse_config(["--config", "base.yaml", *self.WORDS])
        again = config_from_file(Path(write("saved.yaml", config.text)), ["--training.lr=0.1"])
        assert (again.training.lr, again.model.width) == (0.1, 64)

    def test_print_config_prints_what_reads_back(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            parse_config(["--config", "base.yaml", *self.WORDS, "--print_config"])
        assert stop.value.code == 0
        printed = write("printed.yaml", capsys.readouterr().out)
        assert parse_config(["--config", printed]) == parse_config(["--config", "base.yaml", *self.WORDS])

    def test_help_explains_every_key(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse_config(["--help"])
        page = capsys.readouterr().out
        for key in known_keys():
            if key.startswith(("model.", "training.", "tracking.", "trainer.")):
                assert f"--{key} " in page, key

    def test_no_key_is_left_out_of_what_is_suggested(self) -> None:
        values = parse_config(["--config", "base.yaml"]).values
        assert {f"trainer.{key}" for key in values["trainer"]} <= set(known_keys())
        assert not any(key.endswith((".cls", ".logger", ".default_root_dir")) for key in known_keys())


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("modle: {width: 32}", "Unknown key 'modle.width'. Did you mean 'model.width'?"),
            ("model: {widht: 32}", "Unknown key 'model.widht'. Did you mean 'model.width'?"),
            ("data: {target: y, splt: {seed: 1}}", "Unknown key 'data.splt.seed'. Did you mean 'data.split.seed'?"),
            ("data: {split: {sed: 1}}", "Unknown key 'data.split.sed'. Did you mean 'data.split.seed'?"),
            ("trainer: {max_epoch: 3}", "Unknown key 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"),
            ("model: {width: big}", "`model.width` is 'big'; it has to be of the type int."),
            ("trainer: {max_epochs: x}", "`trainer.max_epochs` is x; it has to be one of: int, null."),
            (
                "training: {optimizer: adamv}",
                "`training.optimizer` is 'adamv', which is none of ours. Did you mean 'adamw'?",
            ),
            ("data: {split: {method: tme}}", "`data.split.method` is 'tme'. Did you mean 'time'?"),
        ],
    )
    def test_in_a_file(self, text: str, sentence: str) -> None:
        assert refusal("--config", write("wrong.yaml", text)) == sentence

    @pytest.mark.parametrize(
        ("flag", "sentence"),
        [
            ("--model.widht=3", "Unknown key 'model.widht'. Did you mean 'model.width'?"),
            ("--modle.width=3", "Unknown key 'modle.width'. Did you mean 'model.width'?"),
            ("--width=3", "Unknown key 'width'. Did you mean 'model.width'?"),
            ("--data.read.separtor=,", "Unknown key 'data.read.separtor'. Did you mean 'data.read.separator'?"),
            ("--trainer.max_epoch=3", "Unknown key 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"),
            ("--training.lr=fast", "`training.lr` is fast; it has to be one of: float, null."),
            ("--training.beta1=fast", "`training.beta1` is 'fast'; it has to be of the type float."),
            ("--training.lr=-1", "`training.lr` is -1.0; it has to be a number above 0."),
            ("--model.width=33", "model.width is 33, which model.num_heads = 2 does not divide; 32 would do."),
            ("--model.gate=swiglo", "model.gate is 'swiglo', which is none of its options. Did you mean 'swiglu'?"),
        ],
    )
    def test_in_a_flag(self, flag: str, sentence: str) -> None:
        assert refusal(flag) == sentence

    def test_an_unknown_choice_lists_the_right_ones(self) -> None:
        sentence = refusal("--trainer.precision=bf17")
        start = "`trainer.precision` is bf17; it has to be one of: "
        assert sentence.startswith(start)
        choices = sentence.removeprefix(start).removesuffix(".").split(", ")
        assert {"bf16-mixed", "32", "null"} < set(choices)
        assert len(choices) == len(set(choices))

    def test_a_file_that_is_not_there_is_named(self) -> None:
        assert "nowhere.yaml" in refusal("--config", "nowhere.yaml")

    @pytest.mark.parametrize("words", [[], ["--config", "none.yaml"]])
    def test_a_missing_target_is_named(self, words: list[str]) -> None:
        write("none.yaml", "data: {path: table.csv}")
        sentence = "`data.target` is missing; set it in the config or as --data.target."
        assert refusal(*words, base=False) == sentence

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--data.task=regresion"], "`data.task` is 'regresion'. Did you mean 'regression'?"),
            (
                ["--data.task=regression", "--training.class_weights=balanced"],
                "`training.class_weights` is for classes",
            ),
            (["--data.task=binary", "--training.interval=0.9"], "`training.interval` is 0.9, but it is for regression"),
            (["--data.task=multiclass", "--training.metric=rmse"], "`training.metric` is 'rmse', which is none of a"),
        ],
    )
    def test_a_recipe_for_another_task_than_the_config_names(self, words: list[str], sentence: str) -> None:
        assert refusal(*words).startswith(sentence)

    def test_a_missing_table_is_named(self) -> None:
        assert "`data.path`" in refusal("--data.target=y", base=False)

    @pytest.mark.parametrize("key", ["logger", "default_root_dir", "enable_checkpointing"])
    def test_what_the_run_decides_is_refused_with_the_reason(self, key: str) -> None:
        start = f"`trainer.{key}` cannot be set: "
        assert refusal(f"--trainer.{key}=false").startswith(start)
        assert refusal("--config", write("wrong.yaml", f"trainer: {{{key}: false}}")).startswith(start)

    @pytest.mark.parametrize("seed", ["true", "false", "null", "some", "-1", str(2**32)])
    def test_a_run_has_a_seed(self, seed: str) -> None:
        assert refusal(f"--seed_everything={seed}").startswith("`seed_everything` is ")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["extra"], "'extra' belongs to no option; `mlpipe fit --help` shows what there is."),
            (
                ["churn.csv.gz", "--foo", "3"],
                "churn.csv.gz is a table, no config; `mlpipe init churn.csv.gz --target COLUMN` writes one for it.",
            ),
            (
                ["my table.csv"],
                "my table.csv is a table, no config; `mlpipe init 'my table.csv' --target COLUMN` writes one for it.",
            ),
            (["site.yaml"], "site.yaml belongs to no option; a config is given by `--config site.yaml`."),
        ],
    )
    def test_a_word_that_belongs_nowhere_is_named(self, words: list[str], sentence: str) -> None:
        assert refusal(*words) == sentence


def test_what_jsonargparse_says_otherwise_is_handed_on_in_one_line() -> None:
    assert explain("error: Something\n  else") == "Something else"
    assert explain('Parser key "data.path": Something\n  else') == "`data.path`: Something else"


@pytest.mark.parametrize("preset", ["fast", "best"])
def test_init_s_presets_are_those_of_the_repository(request: pytest.FixtureRequest, preset: str) -> None:
    """The package has them, for installations without the repository; `configs/presets` has them for `--config`."""
    path = request.config.rootpath / "configs" / "presets" / f"{preset}.yaml"
    assert preset_values(preset) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_presets_are_configs(request: pytest.FixtureRequest) -> None:
    presets = sorted((request.config.rootpath / "configs" / "presets").glob("*.yaml"))
    assert presets
    for preset in presets:
        config = parse_config(["--config", "base.yaml", "--config", str(preset)])
        assert yaml.safe_load(preset.read_text()).keys() <= config.values.keys()
