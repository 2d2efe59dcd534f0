"""Fit on the rows that are not held out; transform and predict any rows."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..data_processing.columns import Columns
from .estimator import Estimator


def fit_preprocessor(
    instances: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, Any]:
    """Fit scaling of numbers and one-hot encoding of the rest on the training rows.

    Returns:
        Fitted transformers of scikit-learn by kind of column; each knows its columns.
        In a ColumnTransformer, a single row would take half as long again.
    """
    training = instances[~labels["held_out"]]
    numbers = [name for name, kind in columns.features.items() if kind == "number"]
    categories = [name for name in columns.features if name not in numbers]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = (("number", StandardScaler(), numbers), ("category", encoder, categories))
    return {kind: one.fit(training[names]) for kind, one, names in parts if names}


def transform(instances: pd.DataFrame, preprocessor: dict[str, Any]) -> pd.DataFrame:
    """Turn raw instances into the features that the estimator takes."""
    parts = preprocessor.values()
    arrays = [one.transform(instances[one.feature_names_in_]) for one in parts]
    names = np.concatenate([one.get_feature_names_out() for one in parts])
    return pd.DataFrame(np.hstack(arrays), index=instances.index, columns=names)


def fit_model(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    columns: Columns,
    estimator: Estimator,
    seed: int,
) -> Any:
    """Fit the estimator that the parameters name, on the training rows."""
    training = ~labels["held_out"]
    model = estimator.build(seed)
    return model.fit(features[training], labels.loc[training, columns.target])
