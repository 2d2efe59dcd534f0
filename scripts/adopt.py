#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["copier>=9.19,<10"]
# ///
"""Let an existing Kedro project join: add what it lacks, list what is left to do.

The project's own files win: none is changed, and nothing is committed. What it has of
its own is written into `.copier-answers.yml`, so that no later update touches it.

Examples:
  uv run scripts/adopt.py ../churn --dry-run
  uv run scripts/adopt.py ../churn --training fit --inference score --input customers
  uv run scripts/adopt.py ../churn --data tracking=server --data ci=gitlab --json

Ends with 0 if it is done, 1 if the project can't be adopted as it is, 2 on a wrong
command line.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import copier
import yaml
from copier.errors import CopierError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pathspec import PathSpec

ROOT = Path(__file__).resolve().parents[1]
ANSWERS = ".copier-answers.yml"
# What a project has of its own, or what shows and tests pipelines that it has not.
NOT_BROUGHT = (
    ".pre-commit-config.yaml",
    ".telemetry",
    "README.md",
    "conf/base/catalog.yml",
    "conf/base/parameters*.yml",
    "data",
    "pyproject.toml",
    "src/*/__init__.py",
    "src/*/__main__.py",
    "src/*/pipeline_registry.py",
    "src/*/pipelines",
    "src/*/settings.py",
    "tests",
)
# What the printed lines say where nobody named pipelines.
UNNAMED = ("TRAINING", "INFERENCE", "INPUT")
LOWEST_PYTHON = 11  # 3.11


class RefusedError(Exception):
    """The project can't be adopted as it is, with a sentence for people."""


@dataclass(frozen=True)
class Addition:
    """Lines that a person adds to a file: after one of its lines, or at its end."""

    file: str
    lines: list[str]
    why: str
    after: str | None = None


@dataclass
class Report:
    """What was done, and what is left."""

    project: str
    package: str
    dry_run: bool
    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)


def main() -> int:
    """Read the command line, adopt, and show the report; return the exit code."""
    options = read_arguments()
    try:
        report = adopt(options)
    except RefusedError as error:
        print(f"Refused: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(report), indent=2) if options.json else show(report))
    return 0


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("project", type=Path, help="the project's folder, in a git repository")
    add("--template", help="the template's address; by default where this file is from")
    add("--vcs-ref", help="a version of it; by default the latest release")
    training, inference, data = UNNAMED
    add("--training", default=training, help="the pipeline that fits the model")
    add("--inference", default=inference, help="the one that is logged as the model")
    add("--input", default=data, help="the data set of instances that both take")
    order = "what `kedro run` alone does, as a,b,c; by default the training"
    add("--sequence", type=lambda text: text.split(","), default=[], help=order)
    answer = "an answer, as `copier copy` takes it: task=regression, tracking=server"
    add("--data", action="append", default=[], metavar="QUESTION=ANSWER", help=answer)
    add("--answers-file", default=ANSWERS, help="if another template wrote the default")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    named = (options.training, options.inference, options.input)
    if set(named) & set(UNNAMED) and named != UNNAMED:
        parser.error("--training, --inference and --input go together")
    if wrong := [each for each in options.data if "=" not in each]:
        parser.error(f"--data {wrong[0]} is no QUESTION=ANSWER")
    return options


def adopt(options: argparse.Namespace) -> Report:
    """Add the template's files to a project; return what was done and what is left.

    A project that has joined already gets no file: what is still left is returned.

    Raises:
        RefusedError: if the project can't be adopted as it is; nothing is written then.
    """
    project = options.project.resolve()
    declared = read_declared(project)
    package = declared["tool"]["kedro"]["package_name"]
    refuse_unfit(project, declared, options.answers_file)
    report = Report(str(project), package, options.dry_run)
    stored = read_yaml(project / options.answers_file)
    answers = choose_answers(declared) | stored
    answers |= given_answers(options.data)
    with tempfile.TemporaryDirectory() as folder:
        # Everything that the template has: what collides is the project's own.
        preview = Path(folder)
        render(options, preview, {**answers, "own": ["(of every project)"]})
        if not stored:
            answers["own"] = compare(project, preview, report)
            refuse_taken(project, package)
            if not options.dry_run:
                render(options, project, answers)
                name_experiment(project, package, report)
        additions = list_additions(project, preview, declared, options)
        report.additions = [each for each in additions if is_missing(project, each)]
        report.notes = list_notes(project, preview, declared, options, report.kept)
    report.then = list_commands(project)
    return report


def compare(project: Path, preview: Path, report: Report) -> list[str]:
    """Note what would be added and what is kept; return what the project owns."""
    rendered = sorted(
        path.relative_to(preview).as_posix()
        for path in preview.rglob("*")
        if path.is_file()
    )
    own = {*NOT_BROUGHT}
    if (project / "conf/logging.yml").exists():
        own.add("src/*/progress.py")  # it says what a quiet logging.yml leaves out
    patterns = [f"/{path}" for path in own]
    elsewhere = PathSpec.from_lines("gitignore", patterns).match_file
    report.kept = [name for name in rendered if (project / name).exists()]
    report.added = [
        name for name in rendered if name not in report.kept and not elsewhere(name)
    ]
    return sorted(own | {name for name in report.kept if not elsewhere(name)})


def read_declared(project: Path) -> dict[str, Any]:
    """Return what a Kedro project's pyproject.toml says."""
    file = project / "pyproject.toml"
    declared = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    if "package_name" not in declared.get("tool", {}).get("kedro", {}):
        raise RefusedError(
            f"{project} is no Kedro project: it has no pyproject.toml whose "
            "[tool.kedro] names a package_name."
        )
    return declared


def refuse_unfit(project: Path, declared: dict[str, Any], answers_file: str) -> None:
    """Refuse a project in which an addition would not be seen, or find its place."""
    kedro = declared["tool"]["kedro"]
    if (source := kedro.get("source_dir", "src").strip("./") or ".") != "src":
        raise RefusedError(
            f"its code is in {source}/, and the template's goes to src/: move it there "
            f"(`git mv {source} src`), and say so in [tool.kedro]."
        )
    if git(project, "rev-parse", "--verify", "--quiet", "HEAD") is None:
        raise RefusedError(
            f"{project} has no commit in a git repository, so you could not see what "
            "is added: `git init && git add . && git commit --message Start`."
        )
    if changed := (git(project, "status", "--porcelain", "--", ".") or "").splitlines():
        names = ", ".join(line[3:] for line in changed[:3])
        raise RefusedError(
            f"{project} has changes that are not committed ({names}), so you could not "
            "tell them from what is added: commit or stash them first."
        )
    answers = project / answers_file
    if answers.exists() and "own" not in read_yaml(answers):
        raise RefusedError(
            f"{answers_file} was written by another template, or by this one for a "
            "project that it made: to add this one to another, say "
            "`--answers-file .copier-answers.blueprint.yml`."
        )


def refuse_taken(project: Path, package: str) -> None:
    """Refuse a project that uses the names of the template's own code."""
    source = f"src/{package}"
    if (project / source / "cli.py").exists():
        raise RefusedError(
            f"{source}/cli.py is yours, and Kedro reads no other: `git mv "
            f"{source}/cli.py {source}/project_cli.py`, where the template's finds "
            "your commands, and commit."
        )
    for name in ("mlops", "mlops.py"):
        if (project / source / name).exists():
            raise RefusedError(
                f"{source}/{name} is yours, and the template needs this name: rename "
                "it (`git mv`), and commit."
            )


def choose_answers(declared: dict[str, Any]) -> dict[str, Any]:
    """Return the answers that follow from what the project says of itself."""
    kedro = declared["tool"]["kedro"]
    required = declared.get("project", {}).get("requires-python", "")
    lowest = re.search(r">=\s*3\.(\d+)", required)
    return {
        "project_name": kedro.get("project_name", kedro["package_name"]),
        "package_name": kedro["package_name"],
        "example": False,
        "license": "none",
        "ci": "none",
        "python_version": f"3.{max(int(lowest[1]) if lowest else 0, LOWEST_PYTHON)}",
    }


def given_answers(given: list[str]) -> dict[str, Any]:
    """Return the answers of the command line; Copier gives them their types."""
    pairs = (each.partition("=") for each in given)
    return {question: answer for question, _, answer in pairs}


def render(options: argparse.Namespace, folder: Path, answers: dict[str, Any]) -> None:
    """Let Copier write the template's files, without trust and without a question."""
    try:
        copier.run_copy(
            options.template or origin(),
            folder,
            data={k: v for k, v in answers.items() if not k.startswith("_")},
            answers_file=options.answers_file,
            vcs_ref=options.vcs_ref,
            defaults=True,
            quiet=True,
            unsafe=False,
        )
    except (CopierError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RefusedError(
            f"{reason} (`--data QUESTION=ANSWER` answers otherwise.)"
        ) from error


def name_experiment(project: Path, package: str, report: Report) -> None:
    """Let the rules of what is kept name the experiment that mlflow.yml names."""
    rules = project / "conf/base/artifacts.yml"
    settings = read_yaml(project / "conf/base/mlflow.yml")
    tracking = settings.get("tracking") or {}
    name = (tracking.get("experiment") or {}).get("name", package)
    text = f"    - name: {package}\n      keep:"
    found = rules.read_text("utf-8")
    if name != package and "conf/base/artifacts.yml" in report.added and text in found:
        named = json.dumps(name)
        rules.write_text(found.replace(text, text.replace(package, named)), "utf-8")


def list_additions(
    project: Path,
    preview: Path,
    declared: dict[str, Any],
    options: argparse.Namespace,
) -> list[Addition]:
    """Return what only a person can add, since the files are the project's own."""
    package = declared["tool"]["kedro"]["package_name"]
    return [
        *add_settings(f"src/{package}/settings.py"),
        *add_pairing(project, f"src/{package}/pipeline_registry.py", options),
        *add_dependencies(project, preview, declared),
        *add_start_up(package, declared),
        *add_configuration(project, preview),
    ]


def add_settings(file: str) -> list[Addition]:
    """Return the lines that join the hooks and the configuration."""
    lines = [
        "",
        "from .mlops.joining import join  # noqa: E402",
        "",
        "HOOKS, CONFIG_LOADER_ARGS = join(globals())",
    ]
    return [Addition(file, lines, "the template's hooks and resolvers, beside yours")]


def add_start_up(package: str, declared: dict[str, Any]) -> list[Addition]:
    """Return the lines that keep known warnings of plugins out of every answer."""
    if "project" not in declared:
        return []
    lines = [
        "",
        '[project.entry-points."kedro.init"]',
        f'quick = "{package}.start_up:collect_garbage_less"',
        f'quiet = "{package}.start_up:ignore_known_warnings"',
    ]
    return [Addition("pyproject.toml", lines, "a quicker and quieter start")]


def add_pairing(
    project: Path, file: str, options: argparse.Namespace
) -> list[Addition]:
    """Return the lines that pair training with the inference that is logged."""
    names = (options.training, options.inference, options.input)
    training, inference, data = map(json.dumps, names)
    order = [json.dumps(name) for name in options.sequence] or [training]
    sequence = [
        "",
        "# What `kedro run` alone does, one MLflow run each.",
        "SEQUENCE = (",
        *(f"    {name}," for name in order),
        ")",
    ]
    text = (project / file).read_text("utf-8") if (project / file).exists() else ""
    if "pipeline_ml_factory" in text:
        return [Addition(file, sequence, "what `kedro run` alone does")]
    lines = [
        "",
        "from .mlops.joining import pair  # noqa: E402",
        "",
        "register_pipelines = pair(",
        "    register_pipelines,",
        f"    training={training},",
        f"    inference={inference},",
        f"    input_name={data},",
        ")",
        *sequence,
    ]
    return [Addition(file, lines, "training paired with what is logged as the model")]


def add_dependencies(
    project: Path, preview: Path, declared: dict[str, Any]
) -> list[Addition]:
    """Return the requirements that each file lacks which lists some."""
    why = "what the template's code imports"
    wanted = template_requirements(preview)
    listed = declared.get("project", {}).get("dependencies")
    additions = []
    if listed is not None and (opening := opening_of_dependencies(project)):
        lines = [f'    "{each}",' for each in lacking(listed, wanted)]
        additions.append(Addition("pyproject.toml", lines, why, after=opening))
    file = project / "requirements.txt"
    if file.is_file():
        lines = lacking(listed_requirements(file), wanted)
        additions.append(Addition(file.name, lines, why))
    return additions


def opening_of_dependencies(project: Path) -> str | None:
    """Return the line of pyproject.toml behind which a dependency can be added."""
    text = (project / "pyproject.toml").read_text("utf-8")
    found = re.search(r"^dependencies\s*=\s*\[$", text, re.MULTILINE)
    return found[0] if found else None


def listed_requirements(file: Path) -> list[str]:
    """Return the requirements of a requirements.txt, without options and paths."""
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    listed = [re.split(r"(?:^|\s)#", line)[0].strip() for line in lines]
    return [line for line in listed if re.match(r"\w", line) and "://" not in line]


def template_requirements(preview: Path) -> list[str]:
    """Return what the template's own code needs, of the rendered pyproject.toml."""
    declared = tomllib.loads((preview / "pyproject.toml").read_text("utf-8"))
    listed = declared["project"]["dependencies"]
    # Data sets are those of the project's own catalog.
    return [each for each in listed if not each.startswith("kedro-datasets")]


def name_of(requirement: str) -> str:
    """Return the normalised name of what is required."""
    return canonicalize_name(Requirement(requirement).name)


def lacking(present: list[str], wanted: list[str]) -> list[str]:
    """Return the wanted requirements whose packages are not among the present ones."""
    names = {name_of(each) for each in present}
    return [each for each in wanted if name_of(each) not in names]


def add_configuration(project: Path, preview: Path) -> list[Addition]:
    """Return what a configuration file lacks that is the project's own."""
    additions = []
    if (own := project / "conf/base/globals.yml").exists():
        ours = read_yaml(preview / "conf/base/globals.yml")
        lines = [f"{k}: {v}" for k, v in ours.items() if k not in read_yaml(own)]
        additions.append(
            Addition("conf/base/globals.yml", lines, "the registered model's name")
        )
    stores = ["/mlflow.db*", "/mlartifacts/"]
    if "project_sqlite" in (preview / "conf/base/mlflow.yml").read_text("utf-8"):
        why = "runs and models live in the project's folder"
        additions.append(Addition(".gitignore", stores, why))
    return additions


def is_missing(project: Path, addition: Addition) -> bool:
    """Tell whether a file lacks a line of an addition."""
    file = project / addition.file
    text = file.read_text("utf-8") if file.is_file() else ""
    return not set(filter(None, addition.lines)) <= set(text.splitlines())


def list_notes(
    project: Path,
    preview: Path,
    declared: dict[str, Any],
    options: argparse.Namespace,
    kept: list[str],
) -> list[str]:
    """Return what a person has to decide, a sentence each."""
    notes = [
        *note_dependencies(project, preview, declared),
        "conf/base/gates.yml names metrics as the template's pipelines log them: "
        "`kedro model promote` needs yours, and a pipeline `evaluation`.",
    ]
    if options.training == UNNAMED[0]:
        notes.append(
            f"Replace {', '.join(UNNAMED)} in what pipeline_registry.py gets by the "
            "names of two of your pipelines and of the data set that both take."
        )
    logging = project / "conf/logging.yml"
    text = logging.read_text("utf-8") if logging.is_file() else ""
    if "conf/logging.yml" in kept and re.search("sys.stdout|RichHandler", text):
        notes.append(
            "conf/logging.yml sends logs to stdout, where the commands' `--json` goes, "
            "too: send them to stderr (`stream: ext://sys.stderr`)."
        )
    server = read_yaml(project / "conf/base/mlflow.yml").get("server") or {}
    uri = server.get("mlflow_tracking_uri") or ""
    if server and not re.match(r"\w+://|\$|databricks", uri):
        notes.append(
            "conf/base/mlflow.yml names no database and no server, and MLflow 3 needs "
            "one: `mlflow_tracking_uri: ${project_sqlite:mlflow.db}`."
        )
    return notes


def note_dependencies(
    project: Path, preview: Path, declared: dict[str, Any]
) -> Iterator[str]:
    """Yield what has to change in the dependencies, but can't be told as a line."""
    wanted = template_requirements(preview)
    listed = declared.get("project", {}).get("dependencies")
    requirements = project / "requirements.txt"
    if listed is None and not requirements.is_file():
        yield f"No list of your dependencies is known here; add {', '.join(wanted)}."
    elif listed is not None and not opening_of_dependencies(project):
        missing = lacking(listed, wanted)
        if missing:
            yield f"Add to the dependencies in pyproject.toml: {', '.join(missing)}."
    present = [*(listed or []), *listed_requirements(requirements)]
    for needed in map(Requirement, wanted):
        tested = pinned(preview, needed.name)
        for own in map(Requirement, present):
            same = name_of(str(own)) == name_of(str(needed))
            if same and tested and not own.specifier.contains(tested):
                yield f"You ask for {own}, and the template needs {needed}."


def pinned(preview: Path, name: str) -> str | None:
    """Return the version of a package that the template was tested with."""
    text = (preview / "constraints.txt").read_text("utf-8")
    found = re.search(rf"^{re.escape(name)}==([^\s;]+)", text, re.M | re.I)
    return found[1] if found else None


def list_commands(project: Path) -> list[str]:
    """Return the commands that come after the additions."""
    install = "pip install --constraint constraints.txt"
    if (project / "requirements.txt").is_file():
        install += " --requirement requirements.txt"
    commands = [f"{install} --editable ."]
    if (project / "uv.lock").is_file():
        commands = ["uv sync"]
    return [*commands, "git add . && git commit --message 'Adopt'", "kedro run"]


def read_yaml(file: Path) -> dict[str, Any]:
    """Return what a YAML file holds, nothing if it is not there."""
    return (yaml.safe_load(file.read_text("utf-8")) or {}) if file.is_file() else {}


def git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else done.stdout


def origin() -> str:
    """Return where this file's repository was cloned from, or its folder."""
    found = git(ROOT, "remote", "get-url", "origin")
    return found.strip() if found else str(ROOT)


def show(report: Report) -> str:
    """Return the report for people."""
    would = "would be " if report.dry_run else ""
    lines = []
    if report.added:
        count = f"{len(report.added)} files {would}added:"
        lines += [count, *indent(shorten(report.added)), ""]
    if report.kept:
        lines += ["Kept as they are, since they are yours; no update touches them:"]
        lines += [*indent(shorten(report.kept)), ""]
    if report.additions:
        lines += ["Left to do. Add these lines:", ""]
    for addition in report.additions:
        where = f"after the line `{addition.after}`" if addition.after else "at the end"
        lines += [f"{addition.file}, {where} ({addition.why}):"]
        lines += [*indent(addition.lines), ""]
    if report.notes:
        lines += ["Note:", *(f"- {note}" for note in report.notes), ""]
    return "\n".join([*lines, "Then:", *indent(report.then)])


def shorten(names: list[str]) -> list[str]:
    """Return each file, but of folders with many only the folder."""
    shown = [
        re.sub(r"((?:^|/)mlops/|^data/|^deploy/).*", r"\1", name) for name in names
    ]
    return [name for name in dict.fromkeys(shown) if not name.endswith(".gitkeep")]


def indent(lines: list[str]) -> list[str]:
    """Return lines with four blanks before each that is not empty."""
    return [f"    {line}" if line else "" for line in lines]


if __name__ == "__main__":
    sys.exit(main())
