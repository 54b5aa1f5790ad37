"""Raw columns to arrays: scikit-learn-compatible transformers written on Polars expressions, with JSON state."""
