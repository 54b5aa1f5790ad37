"""What is served is found in another process where it takes MLflow, and its errors are the same sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving import apart
from mlpipe.serving.apart import find_slots
from mlpipe.serving.registry import Registry
from mlpipe.serving.settings import Slot
from mlpipe.serving.versions import open_registry

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def test_mlflow_stays_out_of_the_process_that_asks(
    new_registry: Callable[[str], Registry],
    bundles: list[Path],
    run_python: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = new_registry("mlflow")
    registry.register(bundles[0], "flights", "champion")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = registry.uri  # type: ignore[attr-defined]  # MLflow's has one
    script = tmp_path / "find.py"
    script.write_text(
        "import sys\nfrom mlpipe.serving.apart import find_slots\n"
        f"if __name__ == '__main__':\n    (slot,) = find_slots(['models:/flights'], {where!r})\n"
        "    print(slot.label, (slot.folder / 'bundle.json').is_file(), 'mlflow' in sys.modules)\n"
    )
    assert run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')") == "champion True False\n"
    with pytest.raises(ConfigError, match=r"There is no model 'fligths' in MLflow at .*Did you mean 'flights'"):
        find_slots(["models:/fligths"], where)


def test_a_path_and_a_folder_need_no_process(
    bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_find_apart", None)
    assert find_slots([str(bundles[0])], "sqlite:///nowhere.db") == [Slot(bundles[0])]
    folder = str(tmp_path / "models")
    open_registry(folder).register(bundles[0], "flights", "champion")
    assert find_slots(["models:/flights"], folder) == [Slot(tmp_path / "models" / "flights" / "1", "champion")]
    with pytest.raises(BundleError, match="There is no bundle at"):
        find_slots([str(tmp_path / "nowhere")])
