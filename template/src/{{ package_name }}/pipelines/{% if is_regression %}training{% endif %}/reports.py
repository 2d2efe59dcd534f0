"""How good the regressor is on rows that it has not seen, in figures and plots."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline

from ..data_processing.columns import Columns


def evaluate(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, dict[str, float]]:
    """Return metrics of the held-out rows as MLflow keeps them, by name.

    Errors are in the target's unit.
    """
    truth, predicted = _held_out(predictions, labels, columns)
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
    truth, predicted = _held_out(predictions, labels, columns)
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
    held_out = labels["held_out"]
    importance = permutation_importance(
        make_pipeline(preprocessor, model),
        instances[held_out],
        labels.loc[held_out, columns.target],
        scoring="r2",
        n_repeats=5,
        random_state=seed,
    )
    order = np.argsort(importance.importances_mean)
    figure, axes = _figure("Permutation importance", "drop of R²", "")
    axes.barh(
        instances.columns[order],
        importance.importances_mean[order],
        xerr=importance.importances_std[order],
    )
    return figure


def _held_out(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> tuple[pd.Series, pd.Series]:
    held_out = labels["held_out"]
    return labels.loc[held_out, columns.target], predictions.loc[held_out, "prediction"]


def _figure(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _plot_against_actual(truth: pd.Series, predicted: pd.Series) -> Figure:
    figure, axes = _figure("Predicted against actual", "actual", "predicted")
    axes.scatter(truth, predicted, s=8, alpha=0.5)
    limits = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(limits, limits, linestyle=":", color="grey")
    return figure


def _plot_residuals(truth: pd.Series, predicted: pd.Series) -> Figure:
    figure, axes = _figure("Residuals", "predicted", "actual − predicted")
    axes.scatter(predicted, truth - predicted, s=8, alpha=0.5)
    axes.axhline(0, linestyle=":", color="grey")
    return figure
