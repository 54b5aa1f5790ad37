"""`mlpipe example`: write a table to try things on."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlpipe.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """Write the table to `--out`.

    Raises:
        ConfigError: The file exists, or its folder doesn't.
    """
    from mlpipe.data.flights import write_flights

    out = Path(args.out)
    if out.exists() and not args.force:
        raise ConfigError(f"{out} exists; give another name with `--out`, or `--force` to overwrite it.")
    if not out.parent.is_dir():
        raise ConfigError(f"There is no folder {out.parent}, in which {out.name} is to be written.")
    write_flights(out)
    print(f"Wrote {out}. Next:\n  mlpipe init {out} --target ...")
    return 0
