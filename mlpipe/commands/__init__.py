"""One module per verb of the command line, each with a `run(args)` that returns the exit code."""
