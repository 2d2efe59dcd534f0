"""The project's package: your pipelines, and the template's part in ``mlops``."""
