"""How good the classifier is on rows that it has not seen, in figures and plots."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline

from ..data_processing.columns import Columns


def evaluate(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, dict[str, float]]:
    """Return metrics of the held-out rows as MLflow keeps them, by name."""
    truth, predicted = _held_out(predictions, labels, columns)
    probability, decision = predicted["probability"], predicted["prediction"]
    values = {
        "rows": len(truth),
        "roc_auc": metrics.roc_auc_score(truth, probability),
        "average_precision": metrics.average_precision_score(truth, probability),
        "brier_score": metrics.brier_score_loss(truth, probability),
        "log_loss": metrics.log_loss(truth, probability),
        "accuracy": metrics.accuracy_score(truth, decision),
        "precision": metrics.precision_score(truth, decision, zero_division=0),
        "recall": metrics.recall_score(truth, decision),
        "f1": metrics.f1_score(truth, decision),
    }
    return {name: {"value": float(value), "step": 0} for name, value in values.items()}


def plot_reports(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> dict[str, Figure]:
    """Return ROC, precision-recall, calibration and confusion plots, by file name."""
    truth, predicted = _held_out(predictions, labels, columns)
    probability = predicted["probability"]
    return {
        "roc_curve.png": _plot_roc(truth, probability),
        "precision_recall_curve.png": _plot_precision_recall(truth, probability),
        "calibration.png": _plot_calibration(truth, probability),
        "confusion_matrix.png": _plot_confusion(truth, predicted["prediction"]),
    }


def plot_importance(
    instances: pd.DataFrame,
    labels: pd.DataFrame,
    preprocessor: Any,
    model: Any,
    columns: Columns,
    seed: int,
) -> Figure:
    """Plot how much ROC AUC drops when a raw column of held-out rows is shuffled."""
    held_out = labels["held_out"]
    importance = permutation_importance(
        make_pipeline(preprocessor, model),
        instances[held_out],
        labels.loc[held_out, columns.target],
        scoring="roc_auc",
        n_repeats=5,
        random_state=seed,
    )
    order = np.argsort(importance.importances_mean)
    figure, axes = _figure("Permutation importance", "drop of ROC AUC", "")
    axes.barh(
        instances.columns[order],
        importance.importances_mean[order],
        xerr=importance.importances_std[order],
    )
    return figure


def _held_out(
    predictions: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> tuple[pd.Series, pd.DataFrame]:
    held_out = labels["held_out"]
    return labels.loc[held_out, columns.target], predictions[held_out]


def _figure(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _plot_roc(truth: pd.Series, probability: pd.Series) -> Figure:
    false_positives, true_positives, _ = metrics.roc_curve(truth, probability)
    area = metrics.auc(false_positives, true_positives)
    figure, axes = _figure(
        f"ROC curve (area {area:.3f})", "false positive rate", "true positive rate"
    )
    axes.plot(false_positives, true_positives)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    return figure


def _plot_precision_recall(truth: pd.Series, probability: pd.Series) -> Figure:
    precision, recall, _ = metrics.precision_recall_curve(truth, probability)
    average = metrics.average_precision_score(truth, probability)
    figure, axes = _figure(
        f"Precision-recall curve (average {average:.3f})", "recall", "precision"
    )
    axes.step(recall, precision, where="post")
    axes.axhline(truth.mean(), linestyle=":", color="grey")
    return figure


def _plot_calibration(truth: pd.Series, probability: pd.Series) -> Figure:
    observed, expected = calibration_curve(
        truth, probability, n_bins=8, strategy="quantile"
    )
    figure, axes = _figure("Calibration", "predicted probability", "observed share")
    axes.plot(expected, observed, marker="o")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    return figure


def _plot_confusion(truth: pd.Series, decision: pd.Series) -> Figure:
    counts = metrics.confusion_matrix(truth, decision, labels=[0, 1])
    figure, axes = _figure("Confusion matrix", "predicted", "actual")
    axes.imshow(counts, cmap="Blues")
    axes.set(xticks=[0, 1], yticks=[0, 1])
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(
            column, row, str(count), ha="center", color="white" if dark else "black"
        )
    return figure
