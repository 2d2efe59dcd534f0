"""How good the classifier is on rows that it has not seen, in figures and plots."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance

from ..data_processing.columns import Columns
from .figures import COLOUR, REFERENCE, new_figure, plot_bars
from .nodes import transform
from .predicting import predict


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
        "confusion_matrix.png": _plot_confusion(
            truth, predicted["prediction"], columns
        ),
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

    def score(model: Any, rows: pd.DataFrame, truth: pd.Series) -> float:
        predicted = predict(transform(rows, preprocessor), model, threshold=0.5)
        return float(metrics.roc_auc_score(truth, predicted["probability"]))

    truth, rows = _held_out(instances, labels, columns)
    importance = permutation_importance(
        model, rows, truth, scoring=score, n_repeats=5, random_state=seed
    )
    return plot_bars(
        "Permutation importance", "drop of ROC AUC", rows.columns, importance
    )


def _held_out(
    frame: pd.DataFrame, labels: pd.DataFrame, columns: Columns
) -> tuple[pd.Series, pd.DataFrame]:
    held_out = labels["held_out"]
    return labels.loc[held_out, columns.target], frame[held_out]


def _plot_roc(truth: pd.Series, probability: pd.Series) -> Figure:
    false_positives, true_positives, _ = metrics.roc_curve(truth, probability)
    area = metrics.auc(false_positives, true_positives)
    figure, axes = new_figure(
        f"ROC curve, area {area:.3f}", "false positive rate", "true positive rate"
    )
    axes.plot(false_positives, true_positives, color=COLOUR)
    axes.fill_between(false_positives, true_positives, color=COLOUR, alpha=0.1)
    axes.plot([0, 1], [0, 1], **REFERENCE)
    return figure


def _plot_precision_recall(truth: pd.Series, probability: pd.Series) -> Figure:
    precision, recall, _ = metrics.precision_recall_curve(truth, probability)
    average = metrics.average_precision_score(truth, probability)
    figure, axes = new_figure(
        f"Precision-recall curve, average {average:.3f}", "recall", "precision"
    )
    axes.step(recall, precision, where="post", color=COLOUR)
    axes.fill_between(recall, precision, step="post", color=COLOUR, alpha=0.1)
    axes.axhline(truth.mean(), **REFERENCE)
    axes.set(ylim=(0, 1.02))
    return figure


def _plot_calibration(truth: pd.Series, probability: pd.Series) -> Figure:
    observed, expected = calibration_curve(
        truth, probability, n_bins=8, strategy="quantile"
    )
    figure, axes = new_figure(
        "Calibration, an eighth of the rows each",
        "mean predicted probability",
        "observed share",
    )
    axes.plot(expected, observed, marker="o", color=COLOUR)
    end = max(expected.max(), observed.max())
    axes.plot([0, end], [0, end], **REFERENCE)
    return figure


def _plot_confusion(truth: pd.Series, decision: pd.Series, columns: Columns) -> Figure:
    counts = metrics.confusion_matrix(truth, decision, labels=[0, 1])
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = new_figure(
        "Confusion matrix",
        f"predicted {columns.target}",
        f"actual {columns.target}",
        size=(5, 4.5),
    )
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = ["other", str(columns.positive)]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        text = f"{count}\n{share:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    return figure
