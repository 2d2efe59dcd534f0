"""Metrics of versions on the same rows, with paired bootstrap intervals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
Answers = dict[str, pd.DataFrame]

LOWER_IS_BETTER = {
    "brier_score",
    "log_loss",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "root_mean_squared_error",
}
INTERVAL = (0.025, 0.975)
# Weights that are held in memory at once.
CELLS = 4_000_000
LARGEST_NUMBER_OF_GROUPS = 12
BINS = 10


def compare(
    truth: pd.Series,
    answers: Answers,
    segments: pd.DataFrame,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Measure versions on the same rows: as a whole, and by segment.

    Args:
        truth: What was to be predicted; 1 or 0 where there are probabilities.
        answers: What ``candidate``, and ``champion`` if there is one, predict.
        segments: Columns whose values divide the rows into groups.
        resamples: How often the rows are drawn again.
        seed: Of these draws.

    Returns:
        ``overall`` and, by column and value, ``segments``: each with ``rows`` and
        ``metrics``. A metric has a value and a 95 % interval for each version. The
        ``differences`` of all resamples are positive where the candidate is better.
    """
    groups = {("", ""): np.ones(len(truth), dtype=bool), **divide(segments)}
    found: dict[Any, list[Any]] = {key: [] for key in groups}
    for weights in draw(len(truth), resamples, seed):
        for key, rows in groups.items():
            found[key].append(measure_all(truth, answers, rows, weights))
    once = np.ones((1, len(truth)))
    summaries = {
        key: summarise(measure_all(truth, answers, rows, once), found[key], rows.sum())
        for key, rows in groups.items()
    }
    by_column: dict[str, dict[str, Any]] = {}
    for (column, value), summary in summaries.items():
        if column:
            by_column.setdefault(column, {})[value] = summary
    return {
        "overall": summaries["", ""],
        "segments": by_column,
        "differences": differences(found["", ""]),
        "calibration": {
            name: calibration(truth, answer) for name, answer in answers.items()
        },
    }


def divide(segments: pd.DataFrame) -> dict[tuple[str, str], Array]:
    """Return the rows of each value; numbers of many values fall into quarters."""
    groups = {}
    for column in segments:
        values = segments[column]
        if values.nunique() > LARGEST_NUMBER_OF_GROUPS:
            if not pd.api.types.is_numeric_dtype(values):
                largest = values.value_counts().index[:LARGEST_NUMBER_OF_GROUPS]
                values = values.where(values.isin(largest), "other")
            else:
                values = pd.qcut(values, 4, duplicates="drop")
        names = values.astype("str").where(values.notna(), "missing")
        for name in sorted(names.unique()):
            groups[str(column), name] = (names == name).to_numpy()
    return groups


def draw(rows: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield how often each row was drawn: one line per resample, some at a time."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS // max(rows, 1))
    for start in range(0, resamples, at_once):
        lines = min(at_once, resamples - start)
        cells = generator.integers(rows, size=(lines, rows))
        cells += np.arange(lines)[:, None] * rows
        counts = np.bincount(cells.ravel(), minlength=lines * rows)
        yield counts.reshape(lines, rows).astype("float64")


def measure_all(
    truth: pd.Series, answers: Answers, rows: Array, weights: Array
) -> dict[str, dict[str, Array]]:
    """Return each version's metrics on some rows, one value per line of weights."""
    return {
        name: measure(truth.to_numpy()[rows], answer[rows], weights[:, rows])
        for name, answer in answers.items()
    }


@np.errstate(divide="ignore", invalid="ignore")
def measure(truth: Array, answer: pd.DataFrame, weights: Array) -> dict[str, Array]:
    """Return metrics by name; what can't be told from these rows is NaN."""
    predicted = answer["prediction"].to_numpy(dtype="float64")
    total = weights.sum(axis=1)
    if "probability" not in answer:
        error = predicted - truth
        squared = weights @ error**2 / total
        mean = weights @ truth / total
        relative = np.abs(error) / np.maximum(np.abs(truth), np.finfo("float64").eps)
        return {
            "r2": 1 - squared / (weights @ truth**2 / total - mean**2),
            "root_mean_squared_error": np.sqrt(squared),
            "mean_absolute_error": weights @ np.abs(error) / total,
            "mean_absolute_percentage_error": weights @ relative / total,
        }
    probability = answer["probability"].to_numpy(dtype="float64")
    true_positives = weights @ (truth * predicted)
    positives, called = weights @ truth, weights @ predicted
    of_class = np.where(truth == 1, probability, 1 - probability)
    losses = -np.log(np.clip(of_class, np.finfo("float64").eps, 1))
    area, precision = rank_metrics(truth, probability, weights)
    return {
        "roc_auc": area,
        "average_precision": precision,
        "brier_score": weights @ (probability - truth) ** 2 / total,
        "log_loss": weights @ losses / total,
        "accuracy": weights @ (predicted == truth) / total,
        "precision": true_positives / called,
        "recall": true_positives / positives,
        "f1": 2 * true_positives / (positives + called),
        "positive_rate": called / total,
    }


def rank_metrics(
    truth: Array, probability: Array, weights: Array
) -> tuple[Array, Array]:
    """Return ROC AUC and average precision; equal probabilities count as ties."""
    order = np.argsort(probability, kind="stable")[::-1]
    ranked = probability[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    weights, truth = weights[:, order], truth[order]
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * (1 - truth), starts, axis=1)
    found, wrong = positive.cumsum(axis=1), negative.cumsum(axis=1)
    pairs = found[:, -1] * wrong[:, -1]
    area = (negative * (found - positive / 2)).sum(axis=1) / pairs
    precision = np.nan_to_num(found / (found + wrong))
    return area, (positive * precision).sum(axis=1) / found[:, -1]


def summarise(once: dict[str, Any], drawn: list[Any], rows: int) -> dict[str, Any]:
    """Return values and intervals of each version, by metric."""
    metrics: dict[str, dict[str, Any]] = {}
    for version, values in once.items():
        for name, value in values.items():
            resampled = np.concatenate([chunk[version][name] for chunk in drawn])
            known = resampled[np.isfinite(resampled)]
            interval = np.quantile(known, INTERVAL) if len(known) else [np.nan] * 2
            metrics.setdefault(name, {})[version] = {
                "value": float(value[0]),
                "interval": [float(end) for end in interval],
            }
    return {"rows": int(rows), "metrics": metrics}


def differences(drawn: list[dict[str, dict[str, Array]]]) -> dict[str, Array]:
    """Return by how much the candidate is better in each resample, by metric."""
    if "champion" not in drawn[0]:
        return {}
    return {
        name: np.concatenate(
            [chunk["candidate"][name] - chunk["champion"][name] for chunk in drawn]
        )
        * (-1 if name in LOWER_IS_BETTER else 1)
        for name in drawn[0]["candidate"]
    }


def calibration(truth: pd.Series, answer: pd.DataFrame) -> list[dict[str, float]]:
    """Return mean prediction and mean truth of tenths of the rows, by prediction."""
    predicted = answer["probability" if "probability" in answer else "prediction"]
    bins = pd.qcut(predicted.rank(method="first"), min(BINS, len(truth)), labels=False)
    frame = pd.DataFrame({"predicted": predicted, "observed": truth.to_numpy()})
    means = frame.groupby(bins.to_numpy()).mean()
    return [{str(k): float(v) for k, v in row.items()} for _, row in means.iterrows()]


def lower_bound(resampled: Array, confidence: float) -> float:
    """Return the lower end of the interval that holds the difference; NaN if unknown.

    Half of what the confidence leaves is below it: a candidate that is no better lies
    above 0 in about 2.5 % of all cases, with a confidence of 95 %.
    """
    return float(np.quantile(resampled, (1 - confidence) / 2))
