"""What README.md and docs/ show is what there is: commands parse, configs parse, Python runs, figures are measured."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.commands.arguments import VERBS, build_parsers
from mlpipe.data.config import DataConfig
from mlpipe.data.options import ReadOptions
from mlpipe.data.split import SplitConfig
from mlpipe.training.parser import GROUPS, known_keys, parse_config
from mlpipe.training.variables import NOT_KEYS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/usage.md", "docs/architecture.md", "docs/recipe.md", "docs/deployment.md")
RECORDS = {"data": DataConfig, "data.read": ReadOptions, "data.split": SplitConfig, **GROUPS}
STUB = "data: {path: table.csv, target: y}\n"
UPDATE = runpy.run_path(str(ROOT / "benchmarks" / "update_readme.py"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(language: str) -> list[Any]:
    """The fenced blocks of all pages, as parameters named by page and position."""
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    found = [(page, index, block) for page in PAGES for index, block in enumerate(fenced.findall(text_of(page)))]
    return [pytest.param(block, id=f"{page}-{index}") for page, index, block in found]


def shell_lines(program: str) -> list[str]:
    """The lines of the shell blocks that run a program, without their comments."""
    lines = [shlex.join(shlex.split(line, comments=True)) for p in blocks("bash") for line in p.values[0].splitlines()]
    return sorted({line for line in lines if program in line.split()})


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the repository's configs, in which commands are read as a user would type them."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", shell_lines("mlpipe"))
def test_commands_parse(line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)
    start = words.index("mlpipe")
    for name, _, value in (word.partition("=") for word in words[:start]):
        assert name in NOT_KEYS or name.removeprefix("MLPIPE_").lower().replace("__", ".") in known_keys()
        monkeypatch.setenv(name, value)
    verb, rest = words[start + 1], words[start + 2 :]
    parser = build_parsers()[1][verb]
    if not VERBS[verb].takes_rest:
        parser.check_options(rest)
        parser.parse_args(rest)
        return
    args, config = parser.parse_known_args(rest)
    for path in [value for word, value in pairwise(config) if word == "--config"]:
        if not path.startswith("configs/"):
            (workplace / path).write_text(STUB, encoding="utf-8")
    brings_config = args.run if verb == "baselines" else args.resume
    if brings_config and "--config" not in config:
        (workplace / "saved.yaml").write_text(STUB, encoding="utf-8")
        config = ["--config", "saved.yaml", *config]
    if {"--help", "--print_config"} & set(config):
        with pytest.raises(SystemExit) as stop:
            parse_config(config)
        assert stop.value.code in (0, None)
    else:
        assert parse_config(config).data.target


@pytest.mark.parametrize("line", shell_lines("make"))
def test_make_targets_exist(line: str) -> None:
    for target in shlex.split(line)[1:]:
        assert re.search(rf"^{target}:.*## ", text_of("Makefile"), re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
def test_every_command_is_shown(page: str) -> None:
    assert set(re.findall(r"\bmlpipe ([a-z]+)\b", text_of(page))) & set(VERBS) == set(VERBS)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_configs_parse(block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block, encoding="utf-8")
    assert parse_config(["--config", str(file)]).data.target


@pytest.mark.parametrize("config", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_shipped_configs_parse_alone_and_with_every_preset(config: str) -> None:
    words = ["--config", str(ROOT / "configs" / config)]
    assert parse_config(words).data.target
    for preset in sorted((ROOT / "configs" / "presets").glob("*.yaml")):
        assert parse_config([*words, "--config", str(preset)]).data.target


@pytest.mark.parametrize("block", blocks("json"))
def test_json_is_json(block: str) -> None:
    assert json.loads(block)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block: str, workplace: Path) -> None:
    rng = np.random.default_rng(0)
    X = pl.DataFrame({"zip_code": rng.integers(8000, 8010, 90), "area": rng.uniform(30, 200, 90)})
    price = X["area"].to_numpy() * 7_000
    y = np.where(price > 800_000, "dear", "cheap") if "Classifier" in block else price
    X.head(5).write_csv(workplace / "new.csv")
    names: dict[str, Any] = {"X": X, "y": y, "X_new": X.head(5)}
    exec(compile(block, "block", "exec"), names)  # noqa: S102  # our own page
    assert (workplace / "bundle" / "bundle.json").is_file()
    if "probabilities" in names:
        assert names["probabilities"].shape == (5, 2)


@pytest.mark.parametrize("group", RECORDS)
def test_every_key_is_listed_with_its_default(group: str) -> None:
    section = re.search(rf"^### `{group}`\n(.*?)(?=^### |\Z)", text_of("docs/usage.md"), re.DOTALL | re.MULTILINE)
    assert section is not None
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .*\|$", section[1], re.MULTILINE))
    assert listed == {field.name: shown_default(field) for field in dataclasses.fields(RECORDS[group])}


def shown_default(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(default):
        return "see below"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists()
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in UPDATE["PAGES"]])
def test_a_page_shows_the_figures_that_were_measured(page: str) -> None:
    text = text_of(page)
    assert UPDATE["marked"](text), f"{page} has no markers for results"
    for name, content in UPDATE["marked"](text).items():
        assert content == (RESULTS / f"{name}.md").read_text(encoding="utf-8"), "run benchmarks/update_readme.py"


def test_results_go_between_the_markers_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("| 1 |\n", encoding="utf-8")
    text = "a\n<!-- one:start -->\nold\n<!-- one:end -->\nb\n"
    filled = UPDATE["filled"](text, tmp_path)
    assert filled == "a\n<!-- one:start -->\n| 1 |\n<!-- one:end -->\nb\n"
    assert UPDATE["filled"](filled, tmp_path) == filled


def test_results_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"two\.md"):
        UPDATE["filled"]("<!-- two:start -->\n<!-- two:end -->\n", tmp_path)
