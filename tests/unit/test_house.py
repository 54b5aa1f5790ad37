"""What is said in two places is the same in both."""

from __future__ import annotations

import importlib.metadata
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlpipe import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    values: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return values


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ == importlib.metadata.version("mlpipe")


def test_one_licence(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == project["license"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:400]


def test_the_changelog_tells_of_what_is_to_come_or_of_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] in ("Unreleased", __version__)


def test_every_dependency_is_constrained_to_a_version_that_its_range_admits(
    project: dict[str, Any], constraints: dict[str, str]
) -> None:
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["examples"], *extras["onnx"], *extras["dev"]]:
        requirement = Requirement(text)
        if requirement.name == "mlpipe":
            continue
        version = constraints[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text}, but constraints.txt has {version}"


def test_constraints_hold_no_build_of_one_machine(constraints: dict[str, str]) -> None:
    assert [name for name, version in constraints.items() if not re.fullmatch(r"[\w.]+", version)] == []
    assert [name for name in constraints if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_ci_calls_targets_that_exist() -> None:
    targets = makefile_targets()
    assert {"help", "demo", "test", "test-all", "lint", "format", "type", "bench", "docs", "lock", "clean"} <= targets
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]["check"]["strategy"]["matrix"]["target"]) <= targets
    assert workflow["jobs"]["docker"]["steps"][-1]["run"] == "make docker-check"
    assert "docker-check" in targets
    called = re.findall(r"make --no-print-directory (\S+)", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert called == ["lint", "type", "test"]


@pytest.mark.parametrize("script", [".ci/run", ".ci/smoke", "docker/check"])
def test_scripts_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_actions_are_pinned_to_a_version() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", workflow)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", action)] == []
