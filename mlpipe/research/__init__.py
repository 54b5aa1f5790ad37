"""What a researcher asks for: a run from table to bundle, cross-validation, baselines beside it, pictures of it."""
