"""Score two versions on rows that neither has seen, and measure them."""

from time import perf_counter
from typing import Any

import pandas as pd
from kedro.validation import DataValidationError
from matplotlib.figure import Figure

from ...mlops.promotion.statistics import compare
from ..data_processing.columns import Columns, read_features
from ..training.figures import COLOUR, REFERENCE, new_figure

SINGLE_ROWS = 20


def score_versions(
    raw: pd.DataFrame,
    labels: pd.DataFrame,
    contenders: dict[str, Any],
    columns: Columns,
) -> dict[str, Any]:
    """Ask each version for the rows that are held out from all of them.

    Args:
        raw: The raw data, of which each version reads its own columns.
        labels: The target, and which rows are held out.
        contenders: ``candidate`` and perhaps ``champion``, each with ``version``,
            ``predict``, ``features`` and ``has_seen``.
        columns: The role of each column.

    Returns:
        Truth, answers and segments by row, and the versions' names and latency.
    """
    unseen = labels["held_out"]
    for contender in contenders.values():
        unseen = unseen & ~contender.has_seen(labels.index)
    if not unseen.any():
        raise DataValidationError("No row is held out from every version.")
    raw = raw[raw[columns.key].isin(labels.index[unseen])]
    answers, milliseconds = {}, {}
    for role, contender in contenders.items():
        own = columns.model_copy(update={"features": contender.features})
        rows = read_features(raw, own, f"The raw data, for version {contender.version}")
        answers[role] = contender.predict(rows).set_axis(rows.index)
        milliseconds[role] = _latency(contender.predict, rows)
    categories = [name for name, kind in columns.features.items() if kind == "category"]
    segments = raw.set_index(columns.key)[[*columns.evaluation_only, *categories]]
    return {
        "truth": labels.loc[segments.index, columns.target],
        "answers": answers,
        "segments": segments,
        "candidate": contenders["candidate"].version,
        "champion": getattr(contenders.get("champion"), "version", None),
        "milliseconds": milliseconds["candidate"],
    }


def evaluate_versions(
    scores: dict[str, Any], evaluation: dict[str, int]
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return metrics with intervals, overall and by segment, and plots by title."""
    known = ("candidate", "champion", "milliseconds")
    measured = {name: scores[name] for name in known} | compare(
        scores["truth"], scores["answers"], scores["segments"], **evaluation
    )
    return measured, {"Calibration": _plot_calibration(measured)}


def _plot_calibration(evaluation: dict[str, Any]) -> Figure:
    figure, axes = new_figure(
        "Calibration, a tenth of the rows each", "mean prediction", "mean truth"
    )
    colours = {"candidate": COLOUR, "champion": "#d08020"}
    for role, points in evaluation["calibration"].items():
        frame = pd.DataFrame(points)
        label = f"{role} {evaluation[role]}"
        axes.plot(*frame.to_numpy().T, marker="o", color=colours[role], label=label)
    limits = [max(axes.get_xlim()[0], axes.get_ylim()[0]), axes.get_xlim()[1]]
    axes.plot(limits, limits, **REFERENCE)
    axes.legend(frameon=False)
    return figure


def _latency(predict: Any, rows: pd.DataFrame) -> float:
    """Return the median milliseconds of requests of one row."""
    times = []
    for number in range(min(SINGLE_ROWS, len(rows))):
        started = perf_counter()
        predict(rows.iloc[[number]])
        times.append(perf_counter() - started)
    return float(pd.Series(times).median() * 1000)
