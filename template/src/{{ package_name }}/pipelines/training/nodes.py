"""Fit on the rows that are not held out; transform and predict any rows."""

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..data_processing.columns import Columns
from .estimator import Estimator


def fit_preprocessor(
    instances: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> ColumnTransformer:
    """Fit scaling and one-hot encoding on the training rows."""
    numbers = [name for name, kind in columns.features.items() if kind == "number"]
    categories = [name for name in columns.features if name not in numbers]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    preprocessor = ColumnTransformer(
        [("number", StandardScaler(), numbers), ("category", encoder, categories)],
        verbose_feature_names_out=False,
    )
    return preprocessor.fit(instances[~labels["held_out"]])


def transform(instances: pd.DataFrame, preprocessor: ColumnTransformer) -> pd.DataFrame:
    """Turn raw instances into the features that the estimator takes."""
    # One frame, and not one from each step: a single row is transformed faster.
    features = preprocessor.transform(instances)
    names = preprocessor.get_feature_names_out()
    return pd.DataFrame(features, index=instances.index, columns=names)


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
