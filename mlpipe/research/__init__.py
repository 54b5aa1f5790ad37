"""What a researcher asks of a run: baselines beside it, and pictures of it."""
