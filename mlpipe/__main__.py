"""`python -m mlpipe` is the `mlpipe` command."""

import sys

from mlpipe.cli import main

if __name__ == "__main__":
    sys.exit(main())
