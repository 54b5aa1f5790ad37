"""The server against its own OpenAPI document, by Schemathesis: requests that fit it, such that just don't, and chains.

Two of its checks are left out, which hold the document to say exactly what is accepted. JSON Schema cannot: that
2024-02-31 is no date, that tensors have as many rows as one another; and other text than ISO 8601 is read as a time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_answers_are_as_documented(served: Any, serving: Any, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("secret\n")
    with serving(served.bundle, tmp_path, "--api-keys", "keys.txt") as server:
        server.wait_until_ready()
        arguments = [
            *("--header", "Authorization: Bearer secret", "--max-examples", "25", "--seed", "1", "--no-color"),
            *("--generation-database", "none", "--exclude-checks", "positive_data_acceptance,negative_data_rejection"),
        ]
        program = Path(sys.executable).with_name("schemathesis")
        run = subprocess.run(
            [program, "run", f"{server.url}/openapi.json", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Tested: 15" in run.stdout
        assert server.status("/v2/health/ready") == 200
