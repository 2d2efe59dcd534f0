"""What the fitted classifier answers."""

from typing import Any

import pandas as pd

# What an estimator must be able to do.
METHOD = "predict_proba"


def predict(features: pd.DataFrame, model: Any, threshold: float) -> pd.DataFrame:
    """Return a class and its probability for every row.

    Args:
        features: What ``transform`` returned, one row per instance.
        model: A fitted binary classifier.
        threshold: The probability from which on a row is predicted 1.

    Returns:
        ``prediction`` (1 or 0) and ``probability`` (of 1), indexed like the features.
    """
    probability = model.predict_proba(features)[:, 1]
    return pd.DataFrame(
        {
            "prediction": (probability >= threshold).astype("int64"),
            "probability": probability,
        },
        index=features.index,
    )
