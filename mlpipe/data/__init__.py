"""From a file to batches: reading, inference, splits, guards, the data module."""
