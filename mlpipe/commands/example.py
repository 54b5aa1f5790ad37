"""`mlpipe example`: write a table to try things on."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlpipe.errors import ConfigError
from mlpipe.files import refuse_folder


def run(args: argparse.Namespace) -> int:
    """Write the table to `--out`.

    Raises:
        ConfigError: The file exists or is a folder, its folder doesn't exist, or its ending names no format.
        DataError: The package that holds the data is not installed.
    """
    from mlpipe.data.flights import write_flights

    out = Path(args.out)
    refuse_folder(out)
    if out.exists() and not args.force:
        raise ConfigError(f"{out} exists; give another name with `--out`, or `--force` to overwrite it.")
    rows = write_flights(out)
    print(f"Wrote {rows:,} flights to {out}; `late` says whether one arrived late. Next:")
    print(f"  mlpipe init {out} --target late")
    return 0
