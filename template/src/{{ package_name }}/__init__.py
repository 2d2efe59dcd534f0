"""The project's package: your pipelines, and the template's part in ``mlops``."""

__version__ = "0.1.0"
