"""How good the regressor is on rows that it has not seen, in figures and plots."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.inspection import permutation_importance

from ..data_processing.columns import Columns
from .figures import COLOUR, REFERENCE, new_figure, plot_bars
from .nodes import transform
from .predicting import predict


def evaluate(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, dict[str, float]]:
    """Return metrics of the held-out rows as MLflow keeps them, by name.

    Errors are in the target's unit.
    """
    truth, rows = _held_out(predictions, labels, columns)
    predicted = rows["prediction"]
    values = {
        "rows": len(truth),
        "r2": metrics.r2_score(truth, predicted),
        "root_mean_squared_error": metrics.root_mean_squared_error(truth, predicted),
        "mean_absolute_error": metrics.mean_absolute_error(truth, predicted),
        "median_absolute_error": metrics.median_absolute_error(truth, predicted),
        "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error(
            truth, predicted
        ),
    }
    return {name: {"value": float(value), "step": 0} for name, value in values.items()}


def plot_reports(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, Figure]:
    """Return residuals and predicted-against-actual plots, by file name."""
    truth, rows = _held_out(predictions, labels, columns)
    predicted = rows["prediction"]
    return {
        "predicted_against_actual.png": _plot_against_actual(truth, predicted),
        "residuals.png": _plot_residuals(truth, predicted),
    }


def plot_importance(
    instances: pd.DataFrame,
    labels: pd.DataFrame,
    preprocessor: Any,
    model: Any,
    columns: Columns,
    seed: int,
) -> Figure:
    """Plot how much R² drops when a raw column of held-out rows is shuffled."""

    def score(model: Any, rows: pd.DataFrame, truth: pd.Series) -> float:
        predicted = predict(transform(rows, preprocessor), model)
        return float(metrics.r2_score(truth, predicted["prediction"]))

    truth, rows = _held_out(instances, labels, columns)
    importance = permutation_importance(
        model, rows, truth, scoring=score, n_repeats=5, random_state=seed
    )
    return plot_bars("Permutation importance", "drop of R²", rows.columns, importance)


def _held_out(
    frame: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> tuple[pd.Series, pd.DataFrame]:
    held_out = labels["held_out"]
    return labels.loc[held_out, columns.target], frame[held_out]


def _plot_against_actual(truth: pd.Series, predicted: pd.Series) -> Figure:
    r2 = metrics.r2_score(truth, predicted)
    figure, axes = new_figure(
        f"Predicted against actual, R² {r2:.3f}", "actual", "predicted"
    )
    axes.scatter(truth, predicted, s=12, alpha=0.5, color=COLOUR, linewidths=0)
    limits = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(limits, limits, **REFERENCE)
    return figure


def _plot_residuals(truth: pd.Series, predicted: pd.Series) -> Figure:
    figure, axes = new_figure("Residuals", "predicted", "actual − predicted")
    axes.scatter(
        predicted, truth - predicted, s=12, alpha=0.5, color=COLOUR, linewidths=0
    )
    axes.axhline(0, **REFERENCE)
    return figure
