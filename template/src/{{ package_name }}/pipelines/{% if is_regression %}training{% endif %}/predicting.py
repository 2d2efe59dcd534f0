"""What the fitted regressor answers."""

from typing import Any

import pandas as pd

# What an estimator must be able to do.
METHOD = "predict"


def predict(features: pd.DataFrame, model: Any) -> pd.DataFrame:
    """Return ``prediction``, in the target's unit, for every row of the features."""
    return pd.DataFrame({"prediction": model.predict(features)}, index=features.index)
