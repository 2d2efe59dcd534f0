"""Measure the template against what users would pick instead, in one run.

Prints what it finds as Markdown and writes it to build/benchmarks.md. Example:

    make bench BENCH_ARGS="--rounds 5 --json build/benchmarks.json"
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests import support

from . import first_answer, retention, start_up
from .journey import BenchmarkError, Journey

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "build" / "benchmarks.md"
STARTED = time.perf_counter()


def say(text: str) -> None:
    """Print progress, with the seconds since the start."""
    print(f"[{time.perf_counter() - STARTED:6.1f} s] {text}", file=sys.stderr)


def median_and_ratio(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Return both medians, and the median of the rounds' ratios."""
    mine, others = zip(*pairs, strict=True)
    return {
        "template": statistics.median(mine),
        "other": statistics.median(others),
        "ratio": statistics.median(a / b for a, b in pairs),
    }


def summarise_journeys(rounds: list[dict[str, Journey]]) -> dict[str, Any]:
    """Return seconds of all rounds, and counts, which no round changes."""
    pairs = [(r["template"].seconds, r["by hand"].seconds) for r in rounds]
    last = rounds[-1]
    return {
        "seconds": median_and_ratio(pairs),
        "rounds": pairs,
        "commands": {name: len(j.steps) for name, j in last.items()},
        "files": {name: len(j.lines_by_file) for name, j in last.items()},
        "lines": {name: sum(j.lines_by_file.values()) for name, j in last.items()},
        "steps": {
            name: [
                {
                    # The folder, the port and the model's id differ by round.
                    "command": " ".join(journey.steps[i].command.split()[:5]),
                    "seconds": statistics.median(
                        r[name].steps[i].seconds for r in rounds
                    ),
                }
                for i in range(len(journey.steps))
            ]
            for name, journey in last.items()
        },
    }


def conditions(rounds: int, load_before: float) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "load before": load_before,
        "load after": os.getloadavg()[0],
    }


def to_markdown(result: dict[str, Any]) -> str:
    """Return the tables and the conditions under which they were measured."""
    text, where = "", result["conditions"]
    if journeys := result.get("first answer"):
        seconds = journeys["seconds"]
        text += (
            "## From nothing to the first REST answer\n\n"
            "| | this template | by hand | ratio |\n|---|---|---|---|\n"
            f"| seconds | {seconds['template']:.1f} | {seconds['other']:.1f} "
            f"| {seconds['ratio']:.2f} |\n"
        )
        for label, key in (
            ("commands", "commands"),
            ("files touched", "files"),
            ("lines written by hand", "lines"),
        ):
            counts = journeys[key]
            text += f"| {label} | {counts['template']} | {counts['by hand']} | |\n"
        text += (
            "\nBy hand: `kedro new`, kedro-mlflow by its documentation, `mlflow models "
            "serve`; nobody's typing is counted in the seconds. The package cache is "
            "warm.\n\n"
        )
    if start := result.get("start-up"):
        text += (
            "## What a command costs\n\n"
            "| seconds | this template | bare kedro-mlflow | ratio |\n"
            "|---|---|---|---|\n"
        )
        for what, value in start.items():
            text += (
                f"| {what} | {value['template']:.1f} | {value['other']:.1f} "
                f"| {value['ratio']:.2f} |\n"
            )
        text += (
            "\nThe bare project logs the same metrics, plots, parameters, data sets "
            "and signature, without guard, proof, lineage and registration.\n\n"
        )
    if pruning := result.get("pruning"):
        text += "## Pruning\n\n" + "".join(f"- {line}\n" for line in pruning) + "\n"
    return text + (
        f"Medians of {where['rounds']} rounds in alternating order, ratios within a "
        f"round; Python {where['python']}, {where['system']}, {where['cores']} cores, "
        f"load {where['load before']:.1f} before and {where['load after']:.1f} after. "
        "`PYTHONDONTWRITEBYTECODE` is unset, whatever the shell says: set, it would "
        "make every start compile everything again.\n"
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for, in a temporary folder."""
    load_before = os.getloadavg()[0]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = support.snapshot_template(folder / "template")
        data = support.render_template(template, folder / "data") / "data" / "01_raw"
        if options.only in (None, "first-answer"):
            file = data / first_answer.DATA
            rounds = first_answer.measure(options.rounds, folder, template, file, say)
            result["first answer"] = summarise_journeys(rounds)
        if options.only in (None, "start-up"):
            pairs = start_up.measure(options.rounds, folder, template, say)
            result["start-up"] = {
                what: {**median_and_ratio(values), "rounds": values}
                for what, values in pairs.items()
            }
        if options.only in (None, "pruning"):
            place = folder / "pruning"
            place.mkdir()
            project = support.render_template(template, place / "project")
            result["pruning"] = retention.measure(project, place, say)
    result["conditions"] = conditions(options.rounds, load_before)
    return result


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--only", choices=["first-answer", "start-up", "pruning"], help="one part only"
    )
    parser.add_argument(
        "--json", type=Path, help="also write every figure to this file"
    )
    options = parser.parse_args()
    try:
        result = measure(options)
    except BenchmarkError as error:
        sys.exit(f"The benchmark stopped: {error}")
    text = to_markdown(result)
    print(text)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(text, "utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), "utf-8")


if __name__ == "__main__":
    main()
