"""The pipelines: plain Kedro, without a line of MLflow."""
