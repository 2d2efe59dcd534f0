"""The evaluation report and the model card: Markdown, and HTML of the same text."""

import base64
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from markdown_it import MarkdownIt  # comes with rich, which comes with Kedro

from . import records
from .records import data_of, decisions_of, trainer_of, version_at

SOURCE = "docs/model_card.md"
EVALUATION = "evaluation/evaluation.json"
# What only a person can know of a model.
SECTIONS = ("Intended use", "Out of scope", "People affected", "Limits")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; }
h1, h2, h3 { line-height: 1.2; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 0.9rem; display: block;
  overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.8rem; text-align: left; }
th { background: #f4f6f8; }
img { max-width: 100%; }
blockquote { border-left: 4px solid #c60; margin: 1rem 0; padding: 0.1rem 1rem;
  background: #fff6ec; }
"""


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Return an aligned Markdown table, for terminals as for pages."""
    cells = [[_cell(each) for each in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |"
        for row in cells
    ]
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: Any) -> str:
    if value is None or value != value:  # None, or not a number
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def page(title: str, text: str) -> str:
    """Return Markdown as an HTML page that needs nothing else."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>"
    )


def gate_table(gates: list[dict[str, Any]]) -> str:
    """Return each gate with its verdict, the two figures and the reason."""
    rows = [
        [
            each["gate"],
            "pass" if each["passed"] else "FAIL",
            each["figure"],
            each["against"],
            each["reason"],
        ]
        for each in gates
    ]
    return table(["gate", "verdict", "figure", "against", "reason"], rows)


def metric_table(found: dict[str, Any]) -> str:
    """Return the metrics of each version with their intervals."""
    versions = [v for v in ("candidate", "champion") if v in _any(found["metrics"])]
    rows = [
        [name, *(_interval(values[version]) for version in versions)]
        for name, values in found["metrics"].items()
    ]
    return table(["metric", *versions], rows)


def segment_table(groups: dict[str, Any]) -> str:
    """Return the metrics of the candidate for each group of rows."""
    names = list(_any(groups)["metrics"])
    rows = [
        [
            value,
            group["rows"],
            *(_interval(group["metrics"][name]["candidate"]) for name in names),
        ]
        for value, group in groups.items()
    ]
    return table(["value", "rows", *names], rows)


def _any(mapping: dict[str, Any]) -> Any:
    return next(iter(mapping.values()))


def _interval(found: dict[str, Any]) -> str:
    low, high = ("–" if each is None else f"{each:.3g}" for each in found["interval"])
    value = "–" if found["value"] is None else f"{found['value']:.3g}"
    return f"{value} ({low} to {high})"


def report(name: str, found: dict[str, Any], plots: dict[str, Any]) -> str:
    """Return the evaluation of a candidate as Markdown, with its plots in it."""
    champion = found["champion"]
    against = f" against champion {champion}" if champion else ", no champion yet"
    passed = all(each["passed"] for each in found["gates"])
    failing = [each["gate"] for each in found["gates"] if not each["passed"]]
    parts = [
        f"# Evaluation of {name} {found['candidate']}{against}",
        f"Measured on {found['overall']['rows']} rows that are held out from "
        f"{'both' if champion else 'it'}, on {found['at'][:19]} UTC. "
        + ("It passes every gate." if passed else f"It fails: {', '.join(failing)}."),
        "## Gates",
        gate_table(found["gates"]),
        "## Metrics",
        "In brackets the 95 % interval of a bootstrap; each version runs its own code. "
        f"One row is answered in {found['milliseconds']:.1f} ms (median), and the "
        f"model takes {_cell(found['megabytes'])} MB.",
        metric_table(found["overall"]),
        *(f"![{title}](data:image/png;base64,{png(p)})" for title, p in plots.items()),
        "## Segments of the candidate",
    ]
    for column, groups in found["segments"].items():
        parts += [f"### {column}", segment_table(groups)]
    return "\n\n".join(parts) + "\n"


def png(figure: Any) -> str:
    """Return a figure as base64 text."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode()


def read_source() -> str:
    """Return the team's part of the card; where it is missing, an empty one."""
    file = records.project / SOURCE
    return file.read_text("utf-8") if file.is_file() else "# No docs/model_card.md\n"


def team_sections() -> dict[str, tuple[str, str]]:
    """Return text and question of each section that the team fills."""
    found = dict.fromkeys(SECTIONS, ("", f"{SOURCE} has no such section."))
    for part in re.split(r"^## +", read_source(), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        question = " ".join(" ".join(COMMENT.findall(body)).split())
        found[title.strip()] = (COMMENT.sub("", body).strip(), question)
    return found


def introduction() -> str:
    """Return what the team's file says before its first section."""
    return re.split(r"^#+ .*", read_source(), flags=re.MULTILINE)[1].strip()


def card_gaps() -> list[str]:
    """Return the sections that nobody has filled."""
    return [title for title, (text, _) in team_sections().items() if not text]


def write_card(name: str, version: str) -> None:
    """Attach the model card to the run of a version, as Markdown and HTML."""
    found = version_at(name, version)
    text = card(name, found, mlflow.MlflowClient().get_run(found.run_id))
    attach(
        found.run_id,
        "",
        {"model_card.md": text, "model_card.html": page(f"{name} {version}", text)},
    )


def attach(run_id: str, folder: str, files: dict[str, str]) -> None:
    """Write texts as artifacts of a run."""
    with tempfile.TemporaryDirectory() as here:
        for file, text in files.items():
            Path(here, file).write_text(text, "utf-8")
        mlflow.MlflowClient().log_artifacts(run_id, here, folder or None)


def card(name: str, version: Any, run: Any) -> str:
    """Return the model card of a version as Markdown."""
    evaluation = read_evaluation(version)
    parts = [f"# Model card: {name}, version {version.version}", introduction()]
    for title, (text, question) in team_sections().items():
        missing = f"> **To be filled by a person**, in {SOURCE}. {question}"
        parts += [f"## {title}", text or missing]
    data = [[name, digest] for name, digest in data_of(run).items()]
    parts += ["## Data", table(["data set", "digest"], data)]
    if evaluation:
        parts += [
            "## How good it is",
            f"On {evaluation['overall']['rows']} held-out rows, in brackets the 95 % "
            "interval.",
            metric_table(evaluation["overall"]),
            "## For whom",
        ]
        for column, groups in evaluation["segments"].items():
            parts += [f"### {column}", segment_table(groups)]
        parts += ["## Gates", gate_table(evaluation["gates"])]
    else:
        metrics = [list(each) for each in sorted(run.data.metrics.items())]
        parts += ["## How good it is", table(["metric", "value"], metrics)]
        parts += ["Not evaluated yet: `kedro model promote --dry-run`."]
    made = [
        [d["at"][:19], d["action"], d["by"], d.get("from"), d.get("comment")]
        for d in decisions_of(version)
    ]
    parts += [
        "## Who let it through",
        table(["when (UTC)", "decision", "by", "from", "comment"], made)
        if made
        else "Nobody has decided anything about it yet.",
        "## Where it comes from",
        table(["what", "value"], lineage(version, run)),
        "## How to reproduce it",
        "In a clone of the project, with the data above and the parameters below: "
        "`git checkout COMMIT`, `uv sync --locked`, "
        "`uv run kedro run --pipelines data_processing`, "
        "`uv run kedro run --pipelines training`.",
        table(
            ["parameter", "value"], [list(p) for p in sorted(run.data.params.items())]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def lineage(version: Any, run: Any) -> list[list[Any]]:
    """Return what a version was made from, by whom and when."""
    commit = run.data.tags.get("blueprint.commit")
    return [
        ["commit", commit or "not recorded: there was no git repository"],
        ["run", version.run_id],
        ["model", version.source],
        ["trained by", trainer_of(version)],
        ["registered at (ms)", version.creation_timestamp],
    ]


def read_evaluation(version: Any) -> dict[str, Any] | None:
    """Return the latest evaluation of a version, None if there is none."""
    names = mlflow.MlflowClient().list_artifacts(version.run_id, "evaluation")
    if EVALUATION not in [each.path for each in names]:
        return None
    text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{EVALUATION}")
    found: dict[str, Any] = json.loads(text)
    return found
