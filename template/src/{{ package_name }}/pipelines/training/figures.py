"""One look for every figure."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOUR = "#1f5f8b"
REFERENCE: dict[str, Any] = {"color": "#888888", "linestyle": ":", "linewidth": 1.2}


def new_figure(
    title: str, x: str, y: str, size: tuple[float, float] = (6, 5)
) -> tuple[Figure, Axes]:
    """Return a figure with titles, a light grid and no box."""
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    return figure, axes


def plot_bars(title: str, x: str, names: pd.Index, importance: Any) -> Figure:
    """Plot scikit-learn's permutation importance, the largest on top."""
    mean, deviation = importance.importances_mean, importance.importances_std
    order = np.argsort(mean)
    figure, axes = new_figure(title, x, "", size=(6, 1.2 + 0.26 * len(order)))
    axes.barh(
        names[order],
        mean[order],
        xerr=deviation[order],
        color=COLOUR,
        error_kw={"ecolor": "#888888", "elinewidth": 1},
    )
    axes.grid(visible=False, axis="y")
    axes.margins(y=0.01)
    return figure
