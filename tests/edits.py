"""What teams do to their projects between two updates."""

import re
from pathlib import Path

CI = {
    # file: where a step goes, and the step
    ".github/workflows/ci.yml": (r"(?m)^      - name: ", "      - run: echo ours\n"),
    ".gitlab-ci.yml": (r"(?m)(?<=^  script:\n)", "    - echo ours\n"),
    "azure-pipelines.yml": (r"(?m)^ +- script: ", "{indent}- script: echo ours\n"),
}
PIPELINE = '''"""What the team reports."""

from kedro.pipeline import Node, Pipeline


def summarize(labels):
    """Return the mean of each column."""
    return labels.mean(numeric_only=True).to_frame("mean")


def create_pipeline(**_) -> Pipeline:
    """Summarize the labels."""
    return Pipeline([Node(summarize, "labels", "our_summary")])
'''


def append(path: Path, text: str) -> None:
    """Write a text after what is there."""
    path.write_text(path.read_text("utf-8") + text, "utf-8")


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there once."""
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times."
    path.write_text(text.replace(old, new), "utf-8")


def package_of(project: Path) -> Path:
    """Return the folder of the project's package."""
    return next((project / "src").iterdir())


def nothing(project: Path) -> None:
    """Leave the project as it was rendered."""


def work(project: Path) -> None:
    """Do a team's usual work: their code, configuration, dependency, CI step, page."""
    package, base = package_of(project), project / "conf/base"
    own = package / "pipelines/our_report"
    own.mkdir()
    (own / "__init__.py").write_text(
        '"""Ours."""\n\nfrom .pipeline import create_pipeline as create_pipeline\n'
    )
    (own / "pipeline.py").write_text(PIPELINE)
    append(package / "pipelines/training/nodes.py", "\n\n# What the team changed.\n")
    replace(base / "parameters_training.yml", "seed: 20", "seed: 21")
    append(base / "catalog.yml", "\nour_summary:\n  type: MemoryDataset\n")
    replace(
        project / "pyproject.toml",
        '    "scikit-learn>=1.9,<2",\n',
        '    "scikit-learn>=1.9,<2",\n    "tabulate>=0.9",\n',
    )
    append(package / "settings.py", 'CONFIG_LOADER_ARGS["merge_strategy"] = {}\n')
    append(project / "README.md", "\n## Ours\n\nHow we work.\n")
    for name, (place, step) in CI.items():
        if (project / name).exists():
            text = (project / name).read_text("utf-8")
            found = re.search(place, text)
            assert found, f"{name} has no step to put one before."
            indent = " " * (len(found[0]) - len(found[0].lstrip()))
            text = (
                text[: found.start()]
                + step.format(indent=indent)
                + text[found.start() :]
            )
            (project / name).write_text(text, "utf-8")


def delete(project: Path) -> None:
    """Delete the example and what the team does not want."""
    for path in (project / "data/01_raw").glob("*.csv"):
        path.unlink()
    for path in (project / "tests/pipelines").glob("*.py"):
        path.unlink()
    for name in ("docs/model_card.md", "renovate.json", ".editorconfig"):
        (project / name).unlink(missing_ok=True)


def add_files(project: Path) -> None:
    """Add files beside the template's."""
    package = package_of(project)
    added = {
        "conf/base/catalog_ours.yml": "our_table:\n  type: MemoryDataset\n",
        "conf/base/parameters_ours.yml": "ours: 1\n",
        f"{package.relative_to(project)}/hooks.py": '"""Ours."""\n\nHOOKS = ()\n',
        "tests/test_ours.py": "def test_ours():\n    assert True\n",
        ".github/workflows/ours.yml": "on: push\njobs: {}\n",
        "deploy/kubernetes/overlays/ours/kustomization.yaml": "resources: [../base]\n",
    }
    for name, text in added.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, "utf-8")


def change_ours(project: Path) -> None:
    """Change files of the template's, where a release may change other lines."""
    append(package_of(project) / "mlops/registry.py", "\n# The team's remark.\n")
    replace(project / "conf/base/artifacts.yml", "grace_days: 7", "grace_days: 14")
    replace(project / "pyproject.toml", "line-length = 88", "line-length = 100")
    append(project / "Dockerfile", "\nLABEL owner=ours\n")
    append(project / ".gitignore", "\n/ours/\n")


EDITS = {
    "untouched": nothing,
    "usual work": work,
    "deleted example": delete,
    "added files": add_files,
    "changed ours": change_ours,
}
