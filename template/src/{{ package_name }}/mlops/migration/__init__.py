"""A newer MLflow finds the runs, versions and aliases that an older one wrote."""
