"""The quality kit does what it promises, and each of its checks finds a fault."""

import json
import os
import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from . import support, variants
from .support import Project, environment, git, read_toml, run
from .test_render import PIPELINES

Render = Callable[..., Path]
HOSTS = pytest.mark.parametrize("ci", PIPELINES)
SECRET = "https://user:hush@index.example.org/simple"
# What can't be executed here: there is no container engine, no registry and no cluster,
# and these need one. test_deploy_ci.py executes them with stand-ins.
NEEDS_ENGINE = ("docker build ", "docker run ", "docker push ", "release.sh ")


@pytest.fixture(scope="module")
def project(installed_project: Callable[..., Project]) -> Project:
    """A fresh project, locked, installed and committed."""
    return installed_project()


@pytest.fixture
def scratch(project: Project) -> Iterator[Project]:
    """The fresh project; what a test changes in it is undone."""
    yield project
    git("reset", "--quiet", "--hard", cwd=project.path)
    git("clean", "--quiet", "--force", "-d", cwd=project.path)


# Hooks --------------------------------------------------------------------------------
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": 1,
            "id": "a",
            "metadata": {},
            "outputs": [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}],
            "source": ["print(1)"],
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
FAULTS = {
    "ruff-check": ("src/{package}/wrong.py", "import os\n"),
    "ruff-format": ("src/{package}/wrong.py", "x = {  'a':1 }\n"),
    "mypy": ("src/{package}/wrong.py", 'number: int = "one"\n'),
    "nbstripout": ("notebooks/wrong.ipynb", json.dumps(NOTEBOOK)),
    "check-merge-conflict": ("conf/wrong.yml", f"{'<' * 7} before updating\na: 1\n"),
    "check-added-large-files": ("wrong.txt", "x" * 600_000 + "\n"),
    "detect-private-key": ("wrong.txt", "-----BEGIN RSA " + "PRIVATE KEY-----\n"),
    "end-of-file-fixer": ("wrong.txt", "no line end"),
    "trailing-whitespace": ("wrong.txt", "blank \n"),
    "check-yaml": ("wrong.yml", "a: [\n"),
    "check-toml": ("wrong.toml", "a =\n"),
    "uv-lock": ("uv.lock", "version = 1\n"),
}


@pytest.mark.run
@pytest.mark.parametrize("hook", FAULTS)
def test_each_hook_finds_its_fault(scratch: Project, hook: str) -> None:
    name, fault = FAULTS[hook]
    name = name.format(package=scratch.package)
    file = scratch.path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(fault)
    git("add", "--force", name, cwd=scratch.path)
    done = scratch.run("pre-commit", "run", hook, "--files", name, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed" in done.stdout
    file.unlink()
    git("reset", "--quiet", "--hard", cwd=scratch.path)
    done = scratch.run("pre-commit", "run", hook, "--all-files", check=False)
    assert "Failed" not in done.stdout, "It fails without the fault, too."


def test_every_hook_is_local_and_has_a_planted_fault(project: Project) -> None:
    repositories = yaml.safe_load((project.path / ".pre-commit-config.yaml").open())
    (local,) = repositories["repos"]
    assert local["repo"] == "local"
    assert {hook["id"] for hook in local["hooks"]} == {*FAULTS, "unmerged"}
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(("uv run --no-sync ", "uv lock ", "git "))


@pytest.mark.run
def test_a_conflict_without_markers_is_found(scratch: Project) -> None:
    folder = scratch.path
    file = folder / "README.md"
    git("checkout", "--quiet", "-B", "theirs", cwd=folder)
    file.write_text("Changed.\n")
    git("commit", "--quiet", "--all", "--message", "Change", cwd=folder)
    git("checkout", "--quiet", "-B", "ours", "main", cwd=folder)
    git("rm", "--quiet", file.name, cwd=folder)
    git("commit", "--quiet", "--message", "Delete", cwd=folder)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    merge = ("git", *identity, "merge", "theirs")
    assert run(*merge, cwd=folder, check=False).returncode == 1
    hook = ("pre-commit", "run", "unmerged", "--all-files")
    done = scratch.run(*hook, check=False)
    assert done.returncode == 1
    assert "README.md" in done.stdout
    git("reset", "--quiet", "--hard", cwd=folder)
    git("checkout", "--quiet", "main", cwd=folder)
    scratch.run(*hook)


# Continuous integration ---------------------------------------------------------------
@dataclass
class Step:
    """A shell command of a CI file, with its own environment variables."""

    command: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def needs_engine(self) -> bool:
        """Tell whether it can't be executed here."""
        return any(name in self.command for name in NEEDS_ENGINE)


def pipeline_of(folder: Path, ci: str) -> Any:
    """Return what the CI file of a rendered folder holds; promotion is another one."""
    file = min(folder.glob(PIPELINES[ci][0]))
    return yaml.safe_load(file.read_text("utf-8"))


def steps_of(folder: Path, ci: str) -> list[Step]:
    """Return every shell command of the CI file of a rendered folder, in order."""
    pipeline = pipeline_of(folder, ci)
    if ci == "gitlab":
        jobs = [job for job in pipeline.values() if "script" in job]
        return [
            Step(command, {k: str(v) for k, v in job.get("variables", {}).items()})
            for job in jobs
            for command in [*job.get("before_script", []), *job["script"]]
        ]
    jobs = pipeline["jobs"].values() if ci == "github" else pipeline["jobs"]
    key = "run" if ci == "github" else "script"
    return [
        Step(step[key], step.get("env", {}))
        for job in jobs
        for step in job["steps"]
        if key in step
    ]


def test_every_host_runs_the_same_commands_as_people(rendered: Render) -> None:
    shared = {
        "uv sync --locked",
        "uv run pre-commit run --all-files --show-diff-on-failure",
        "uv run pytest",
        "uv run kedro run",
        "docker run --rm candidate registry list",
    }
    for ci in PIPELINES:
        commands = {step.command for step in steps_of(rendered(ci=ci), ci)}
        assert shared <= commands
        commands -= {c for c in commands if "docker push " in c or "_IMAGE" in c}
        commands -= {c for c in commands if "propose_update" in c}
        extra = {re.split(r" -| \$", command)[0] for command in commands - shared}
        assert extra <= {
            "docker build",
            "pip install",
            "uv cache prune",
            "uv lock",
            "uv run kedro model promote",  # GitHub's goes to the summary as well
        }


@pytest.fixture(scope="module")
def untracked(installed_project: Callable[..., Project]) -> Project:
    """A fresh project whose runs live on a server, unless CI says otherwise."""
    return installed_project(tracking="server")


@pytest.mark.run
@HOSTS
def test_every_step_works_in_a_locked_project(
    untracked: Project, rendered: Render, tmp_path: Path, ci: str
) -> None:
    """Hooks and tests are executed by test_run.py, for every variant.

    The proposal of an update is executed by test_update_job.py.
    """
    project = untracked
    run(sys.executable, "-m", "venv", tmp_path / "agent", cwd=tmp_path)
    elsewhere = ("uv run pre-commit ", "uv run pytest", "uv run --no-project ")
    # Training is the same for all hosts, so it is executed for one of them.
    once = () if ci == "github" else ("uv run kedro ",)
    executed = []
    for step in steps_of(rendered(ci=ci, tracking="server"), ci):
        pruning = "plan.txt" in step.command  # executed by test_retention_schedule.py
        skipped = step.command.startswith((*elsewhere, *once))
        if step.needs_engine or pruning or skipped:
            continue
        settings = {
            **step.env,
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "UV_VERSION": version_of_uv(project.path),
            "PATH": f"{tmp_path / 'agent' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        settings.pop("UV_CACHE_DIR", None)
        if "prune" in step.command:  # not the cache that other tests use
            settings["UV_CACHE_DIR"] = str(tmp_path / "cache")
        command = step.command.replace("$(UV_VERSION)", "$UV_VERSION")
        run(
            *("bash", "-e", "-c", command),
            cwd=project.path,
            env=environment(**settings),
            timeout=600,
        )
        executed.append(step.command)
    assert "uv sync --locked" in executed
    assert ("uv run kedro run" in executed) == (not once)
    if not once:
        assert "| roc_auc at least 0.7 " in (tmp_path / "summary.md").read_text()


def version_of_uv(folder: Path) -> str:
    """Return the version of uv that the image is built with."""
    (found,) = re.findall(r"UV_VERSION=(\S+)", (folder / "Dockerfile").read_text())
    return found


def test_a_missing_or_outdated_lock_stops_ci_with_a_sentence(
    rendered: Render, render: Render
) -> None:
    # Of each host, the first step that needs the lock is the one that says so.
    commands = {
        next(s.command for s in steps_of(rendered(ci=ci), ci) if s.command[:3] == "uv ")
        for ci in PIPELINES
    }
    assert commands == {"uv sync --locked", "uv lock --check"}
    folder = render()
    for command in commands:
        said = refusal(folder, command)
        assert said.startswith("error: Unable to find lockfile at `uv.lock`")
        assert "run `uv lock`" in said
    run("uv", "lock", "--quiet", cwd=folder)
    settings = folder / "pyproject.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"pytest>=', '"humanize>=4", "pytest>='))
    for command in commands:
        assert "To update the lockfile, run `uv lock`" in refusal(folder, command)


def refusal(folder: Path, command: str) -> str:
    """Return the last line that a command says, which has to fail."""
    done = run(*shlex.split(command), cwd=folder, check=False)
    assert done.returncode, f"{command} works"
    *_, last = done.stderr.strip().splitlines()
    return last


@HOSTS
@pytest.mark.parametrize("set_up", [False, True], ids=["public", "company"])
def test_settings_reach_the_build_and_the_index_is_no_argument(
    rendered: Render, tmp_path: Path, ci: str, set_up: bool
) -> None:
    """Docker is replaced by a script that prints its arguments: no engine is here."""
    (build,) = [s for s in steps_of(rendered(ci=ci), ci) if "docker build" in s.command]
    docker = tmp_path / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:])\n")
    docker.chmod(0o755)
    settings = environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("UV_DEFAULT_INDEX", "SSL_CERT_FILE", "BASE_IMAGE"):
        settings.pop(name, None)
    if set_up:
        settings |= {
            "UV_DEFAULT_INDEX": SECRET,
            "SSL_CERT_FILE": "/company/ca.pem",
            "BASE_IMAGE": "company/python",
        }
    command = build.command.replace("${{ parameters.baseImage }}", "company/python")
    printed = run("bash", "-e", "-c", command, cwd=tmp_path, env=settings).stdout
    assert printed.startswith("['build', '--tag', 'candidate'")
    assert printed.endswith(", '.']\n")
    assert ("'id=index,env=UV_DEFAULT_INDEX'" in printed) == set_up
    assert ("'id=certificates,src=/company/ca.pem'" in printed) == set_up
    assert not set_up or "BASE_IMAGE=company/python" in printed
    assert "hush" not in printed


@HOSTS
def test_a_misspelt_key_does_not_fit_the_schema(
    rendered: Render, tmp_path: Path, ci: str
) -> None:
    pattern, schema, options = PIPELINES[ci]
    file = min(rendered(ci=ci).glob(pattern))
    checker = ("check-jsonschema", "--builtin-schema", schema, *options)
    copied = tmp_path / file.name
    for key in {
        "github": ("runs-on", "steps", "timeout-minutes"),
        "gitlab": ("script", "image", "interruptible"),
        "azure": ("pool", "steps", "timeoutInMinutes"),
    }[ci]:
        copied.write_text(file.read_text().replace(f"{key}:", f"{key}x:"))
        assert run(*checker, copied, cwd=tmp_path, check=False).returncode == 1, key


@HOSTS
def test_the_settings_of_renovate_fit_their_schema(
    rendered: Render, tmp_path: Path, ci: str
) -> None:
    file = rendered(ci=ci) / "renovate.json"
    checker = ("check-jsonschema", "--builtin-schema", "vendor.renovate")
    run(*checker, file, cwd=tmp_path)
    wrong = tmp_path / "renovate.json"
    wrong.write_text(file.read_text().replace('"extends": [', '"extends": 1, "x": ['))
    assert run(*checker, wrong, cwd=tmp_path, check=False).returncode == 1


@pytest.mark.parametrize("workflow", ["ci.yml", "update.yml"])
@pytest.mark.parametrize(
    ("found", "right", "wrong"),
    [
        (None, "", ""),
        ("unpinned-uses", r"@[0-9a-f]{40} # ", "@"),
        ("artipacked", r"\n +with:\n +persist-credentials: false", ""),
        ("excessive-permissions", r"permissions: \{\}", "permissions: write-all"),
        (
            "template-injection",
            r"uv run pytest|\$GITHUB_REF_NAME",
            "${{ github.head_ref }}",
        ),
    ],
)
def test_a_workflow_is_safe_and_what_is_not_is_found(
    rendered: Render,
    tmp_path: Path,
    workflow: str,
    found: str | None,
    right: str,
    wrong: str,
) -> None:
    text = (rendered() / ".github/workflows" / workflow).read_text()
    file = tmp_path / ".github" / "workflows" / workflow
    file.parent.mkdir(parents=True)
    file.write_text(re.sub(right, wrong, text) if found else text)
    command = ("zizmor", "--offline", "--persona", "pedantic", "--format", "json", file)
    done = run(*command, cwd=tmp_path, check=False)
    kinds = {finding["ident"] for finding in json.loads(done.stdout)}
    assert kinds == ({found} if found else set()), done.stdout
    assert bool(done.returncode) == bool(found)


# Pins and secrets ---------------------------------------------------------------------
EXACT = r"\d+\.\d+\.\d+(-[a-z]+)*"
AZURE_TASKS = {"UsePythonVersion@0", "Cache@2"}  # Microsoft's own, by their only names


def movable(folder: Path, ci: str) -> list[str]:
    """Return every image, action, task and tool that another day might change."""
    docker = (folder / "Dockerfile").read_text()
    names = re.findall(r"^ARG BASE_IMAGE=(\S+)", docker, re.M)
    names += [f"uv:{version}" for version in re.findall(r"UV_VERSION=(\S+)", docker)]
    pipeline = pipeline_of(folder, ci)
    text = yaml.safe_dump(pipeline)
    names += re.findall(r"_IMAGE: (\w\S+)", text)
    names += re.findall(r"default: (python:\S+)", text)
    loose = [name for name in names if not re.fullmatch(rf"[a-z/]+:v?{EXACT}", name)]
    uses = re.findall(r"uses: (\S+)", text)
    loose += [use for use in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", use)]
    loose += [task for task in re.findall(r"task: (\S+)", text) if ci != "azure"]
    tasks = set(re.findall(r"task: (\S+)", text))
    assert len(names) > 1
    return loose + sorted(tasks - AZURE_TASKS)


@pytest.mark.parametrize(
    ("ci", "python_version"),
    [
        *((ci, "3.11") for ci in PIPELINES),
        *(("github", version) for version in variants.choices()["python_version"][1:]),
    ],
)
def test_every_image_action_and_tool_is_exact(
    rendered: Render, ci: str, python_version: str
) -> None:
    folder = rendered(ci=ci, python_version=python_version)
    assert movable(folder, ci) == []
    assert f"=python:{python_version}." in (folder / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("ci", "exact", "loose"),
    [
        ("github", r"@3d3c\w+", "@v7"),
        ("gitlab", r"docker:[\d.]+-cli", "docker:cli"),
        ("azure", r"Cache@2", "SomebodysTask@1"),
    ],
)
def test_what_is_not_exact_is_noticed(
    render: Render, ci: str, exact: str, loose: str
) -> None:
    folder = render(ci=ci)
    file = min(folder.glob(PIPELINES[ci][0]))
    file.write_text(re.sub(exact, loose, file.read_text()))
    docker = folder / "Dockerfile"
    docker.write_text(docker.read_text().replace(".16-slim", "-slim"))
    assert len(movable(folder, ci)) >= 2


def leaks(instructions: "list[Instruction]") -> list[str]:
    """Return instructions that would leave a setting of a company in the image."""
    names = r"(?i)index|token|passw|secret|credential|netrc|cert"
    return [
        f"{word} {rest}"
        for word, rest, _ in instructions
        if (word in ("ARG", "ENV") and re.search(names, rest))
        or (word == "RUN" and re.search(r"https?://", rest))
    ]


def test_the_image_takes_index_and_certificates_as_secrets_only(
    rendered: Render,
) -> None:
    instructions = read_dockerfile(rendered() / "Dockerfile")
    assert leaks(instructions) == []
    installing = [r for w, r, _ in instructions if w == "RUN" and "with-settings" in r]
    assert len(installing) == 3
    for rest in installing:
        assert "--mount=type=secret,id=index" in rest
        assert "--mount=type=secret,id=certificates" in rest
    assert leaks([("ARG", "PIP_INDEX_URL", ""), ("RUN", f"pip -i {SECRET}", "")])


# The image ----------------------------------------------------------------------------
Instruction = tuple[str, str, str]


def read_dockerfile(file: Path) -> list[Instruction]:
    """Return each instruction's word, its arguments, and the file that it holds."""
    lines = iter(file.read_text("utf-8").splitlines())
    found = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        while line.endswith("\\"):
            line = line[:-1] + next(lines).strip()
        word, _, rest = line.partition(" ")
        body = ""
        if end := re.search(r"<<'(\w+)'", rest):
            body = "".join(f"{part}\n" for part in iter(lines.__next__, end[1]))
        found.append((word, rest, body))
    return found


def is_ignored(name: str, patterns: list[str]) -> bool:
    """Tell whether Docker leaves a file out of the build, by the rules it documents."""
    parts = name.split("/")
    ancestors = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    ignored = False
    for pattern in patterns:
        expression = re.escape(pattern.removeprefix("!").strip("/"))
        expression = expression.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, ancestor) for ancestor in ancestors):
            ignored = not pattern.startswith("!")
    return ignored


def build_context(folder: Path) -> set[str]:
    """Return the files that a build of the image can see."""
    lines = (folder / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return {name for name in names if not is_ignored(name, patterns)}


def test_the_build_sees_code_and_configuration_but_no_data_history_or_secrets(
    render: Render,
) -> None:
    folder = render(license="MIT")
    planted = (
        *(".git/config", ".env", "src/.env", "conf/local/credentials.yml"),
        *("conf/prod/credentials.yml", "conf/base/credentials_s3.yml", "mlflow.db"),
        *("mlartifacts/1/model.pkl", "data/07_model_output/x.csv", "notes.txt"),
        *(".venv/bin/python", "src/x/__pycache__/x.pyc", "src/x.egg-info/PKG-INFO"),
        *("conf/local/mlflow.yml", "uv.lock"),
    )
    for name in planted:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    seen = build_context(folder)
    top = {name.split("/")[0] for name in seen}
    assert top == {"conf", "src", "LICENSE", "README.md", "pyproject.toml", "uv.lock"}
    assert seen & set(planted) == {"uv.lock"}
    assert "conf/local/.gitkeep" in seen
    ignore = folder / ".dockerignore"
    ignore.write_text(re.sub(r"(?m)^(\*|/conf/.*yml|\*\*.*)$", "", ignore.read_text()))
    assert len(build_context(folder) & set(planted)) > 10


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"FROM \$\{BASE_IMAGE\} AS base", "FROM python AS base"),
        (r"useradd", "sudo useradd"),
        (r"WORKDIR /app", "WORKDIR app"),
        (r"with-settings pip install --no-cache-dir \S+", "pip install uv"),
        (r"CMD \[.run.\]", "CMD run"),
        (r"RUN useradd", "RUM useradd"),
    ],
)
def test_a_fault_in_the_image_is_found(
    rendered: Render, tmp_path: Path, right: str, wrong: str
) -> None:
    text = (rendered() / "Dockerfile").read_text()
    changed = re.sub(right, wrong, text)
    assert changed != text
    (tmp_path / "Dockerfile").write_text(changed)
    assert run("hadolint", "Dockerfile", cwd=tmp_path, check=False).returncode == 1


class Build:
    """Executes the steps of an image in a folder, with what the base image has.

    Absolute paths of the image become paths below the folder. Docker's own part
    (layers, users, mounts) can't be executed here: secrets are files where it would
    mount them, and ``useradd`` is left out.
    """

    def __init__(self, project: Path, root: Path) -> None:
        self.project, self.root = project, root
        self.context = build_context(project)
        self.instructions = read_dockerfile(project / "Dockerfile")
        (root / "usr/local/bin").mkdir(parents=True)
        run(sys.executable, "-m", "venv", root / "base", cwd=root)
        programs = (root / "usr/local/bin", root / "base/bin", "/usr/bin", "/bin")
        self.env = environment(
            PATH=os.pathsep.join(map(str, programs)), UV_LINK_MODE="hardlink"
        )

    def below(self, text: str) -> str:
        """Return a text in which the image's paths are those of the folder."""
        return re.sub(
            r"(?<![\w.])/(app|installed|run/secrets|usr/local/bin)\b",
            rf"{self.root}/\1",
            text,
        )

    def until(self, last: str) -> None:
        """Do everything before a stage's end; a step that fails raises."""
        directory, stage = self.root, ""
        for word, rest, body in self.instructions:
            if word == "FROM":
                if stage == last:
                    return
                stage = rest.split()[-1]
            elif word == "ARG" and stage:
                self.env.update([rest.split("=", 1)])
            elif word == "WORKDIR":
                directory = Path(self.below(rest))
                directory.mkdir(exist_ok=True)
            elif word == "COPY":
                self.copy(shlex.split(rest), body, directory)
            elif word == "RUN":
                command = self.below(re.sub(r"--mount=\S+", "", rest))
                command = re.sub(r"useradd [^&]*&&", "", command)
                run("sh", "-c", command, cwd=directory, env=self.env, timeout=600)

    def copy(self, arguments: list[str], body: str, directory: Path) -> None:
        """Copy files of the build's context, a file in the Dockerfile, or a stage's."""
        plain = [a for a in arguments if not a.startswith("--")]
        target = Path(self.below(plain[-1]))
        if body:
            target.write_text(self.below(body))
            target.chmod(0o755)
        elif len(plain) < len(arguments):  # from another stage, of the same folder
            source = Path(self.below(plain[0]))
            if source != directory / target:
                shutil.copytree(source, directory / target, dirs_exist_ok=True)
        else:
            for pattern in plain[:-1]:
                found = {
                    name
                    for name in self.context
                    if Path(name).match(pattern) or name.startswith(f"{pattern}/")
                }
                assert found or "*" in pattern, f"COPY {pattern} finds nothing"
                for name in found:
                    to = directory / name
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self.project / name, to)


@pytest.mark.run
def test_the_steps_of_the_image_give_one_in_which_kedro_runs(
    project: Project, tmp_path: Path
) -> None:
    build = Build(project.path, tmp_path)
    build.until("base")
    folder = tmp_path / "app"
    assert not (folder / "data").exists()
    assert not (folder / ".venv/bin/uv").exists()
    assert not (folder / ".venv/bin/pytest").exists()
    *_, (_, command, _) = [i for i in build.instructions if i[0] == "CMD"]
    *_, (_, entry, _) = [i for i in build.instructions if i[0] == "ENTRYPOINT"]
    assert [*json.loads(entry), *json.loads(command)] == ["kedro", "run"]
    kedro = folder / ".venv/bin/kedro"
    settings = environment(HOME=str(tmp_path), PATH=f"{kedro.parent}:/usr/bin:/bin")
    listed = run(kedro, "registry", "list", cwd=folder, env=settings).stdout
    assert "- batch_inference" in listed
    # Without data it stops with a sentence; with data it trains.
    done = run(kedro, "run", cwd=folder, env=settings, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "mortgage_applications.csv" in done.stderr
    shutil.copytree(project.path / "data", folder / "data")
    run(kedro, "run", cwd=folder, env=settings)
    assert (folder / "data/07_model_output/predictions.csv").is_file()


@pytest.mark.run
def test_an_image_without_a_lock_is_refused_with_a_sentence(
    render: Render, tmp_path: Path
) -> None:
    folder = render()
    assert not (folder / "uv.lock").exists()
    with pytest.raises(AssertionError, match="uv sync --locked") as refused:
        Build(folder, tmp_path).until("dependencies")
    last = str(refused.value).strip().splitlines()[-1]
    assert re.match(r"error: Unable to find lockfile at `uv.lock`", last)


def test_settings_of_a_build_reach_pip_and_uv_only_where_they_are_given(
    rendered: Render, tmp_path: Path
) -> None:
    build = Build(rendered(), tmp_path)
    script, *_ = [body for *_, body in build.instructions if body]
    program = tmp_path / "with-settings"
    program.write_text(build.below(script))
    names = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_CERT", "SSL_CERT_FILE")
    show = f"import os; print({{n: os.environ.get(n) for n in {names}}})"
    bare = {"PATH": os.environ["PATH"]}
    command = ("sh", program, sys.executable, "-c", show)
    assert run(*command, cwd=tmp_path, env=bare).stdout.count("None") == 4
    secrets = tmp_path / "run/secrets"
    secrets.mkdir(parents=True)
    (secrets / "index").write_text(SECRET)
    (secrets / "certificates").write_text("certificates")
    printed = run(*command, cwd=tmp_path, env=bare).stdout
    assert printed.count(SECRET) == 2
    assert printed.count(str(secrets / "certificates")) == 2


# Dependencies -------------------------------------------------------------------------
def pins(text: str) -> dict[str, set[str]]:
    """Return the pinned versions of each package, without markers."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text):
        found.setdefault(normal(name), set()).add(version)
    return found


def normal(name: str) -> str:
    """Return a package's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_constraints_are_dated_pins_without_hosts_or_paths(
    rendered: Render,
) -> None:
    text = (rendered() / "constraints.txt").read_text()
    assert re.search(r"newest versions of \d{4}-\d\d-\d\d", text)
    assert not re.search(r"://|file:|\B/[a-z]|index|\bhash", text), text[:600]
    assert len(pins(text)) > 100
    settings = read_toml(rendered() / "pyproject.toml")
    declared = [
        *settings["project"]["dependencies"],
        *settings["dependency-groups"]["dev"],
    ]
    named = {re.split(r"[\[><=!~; ]", line)[0] for line in declared}
    assert named <= pins(text).keys()


def first_lock_command() -> list[str]:
    """Return the command that the message after copy names to make the first lock."""
    message = variants.settings()["_message_after_copy"]
    (line,) = [line for line in message.splitlines() if "uv add" in line]
    return shlex.split(line, comments=True)


@pytest.mark.parametrize("python_version", ["3.11", "3.13"])
def test_the_first_lock_holds_what_was_tested_and_binds_nothing_later(
    render: Render, python_version: str
) -> None:
    folder = render(python_version=python_version)
    before = (folder / "pyproject.toml").read_text()
    python = support.interpreter(python_version)
    run(*first_lock_command(), "--no-sync", "--python", python, cwd=folder)
    assert (folder / "pyproject.toml").read_text() == before
    exported = run(
        *("uv", "export", "--frozen", "--no-hashes", "--all-groups"),
        *("--no-emit-project", "--python", python),
        cwd=folder,
    ).stdout
    tested = pins((folder / "constraints.txt").read_text())
    locked = pins(exported)
    assert len(locked) > 100
    untested = {n: v - tested.get(n, set()) for n, v in locked.items()}
    assert not any(untested.values()), untested
    assert "constraints" not in read_toml(folder / "uv.lock").get("manifest", {})


@pytest.mark.run
def test_a_lock_without_the_constraints_would_be_noticed(render: Render) -> None:
    folder = render()
    constraints = folder / "constraints.txt"
    text = constraints.read_text()
    older = re.sub(r"(?m)^click==.*$", "click==8.3.0", text)
    assert older != text
    constraints.write_text(older)
    run(*first_lock_command(), "--no-sync", cwd=folder)
    assert locked_version(folder, "click") == "8.3.0"
    # It bounds the first lock only: a team upgrades when it wants.
    run("uv", "lock", "--quiet", "--upgrade-package", "click", cwd=folder)
    assert locked_version(folder, "click") != "8.3.0"


def locked_version(folder: Path, name: str) -> str:
    """Return the version of a package in a project's lock."""
    packages = read_toml(folder / "uv.lock")["package"]
    (found,) = [package for package in packages if package["name"] == name]
    return found["version"]


@pytest.mark.run
def test_pip_installs_what_was_tested(render: Render, tmp_path: Path) -> None:
    folder = render()
    run(sys.executable, "-m", "venv", tmp_path / "new", cwd=tmp_path)
    python = tmp_path / "new/bin/python"
    quiet = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(python, *quiet, "--upgrade", "pip", cwd=tmp_path)
    run(
        *(python, *quiet, "--dry-run", "--report", tmp_path / "report.json"),
        *("--constraint", "constraints.txt", "--group", "dev", "--editable", "."),
        cwd=folder,
        timeout=600,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    tested = pins((folder / "constraints.txt").read_text())
    found = [package["metadata"] for package in report["install"]]
    chosen = {normal(m["name"]): m["version"] for m in found}
    del chosen["mortgage-approval"]
    assert len(chosen) > 100
    assert {n: v for n, v in chosen.items() if v not in tested[n]} == {}


# A plain Kedro project ----------------------------------------------------------------
@pytest.mark.run
def test_kedros_own_commands_work(scratch: Project) -> None:
    project = scratch
    described = project.run("kedro", "catalog", "describe-datasets").stdout
    assert "pandas.csv_dataset.CSVDataset" in described
    project.run("kedro", "catalog", "resolve-patterns")
    project.run("kedro", "package", timeout=600)
    wheel = "mortgage_approval-0.1.0-py3-none-any.whl"
    built = {file.name for file in (project.path / "dist").iterdir()}
    assert built == {wheel, "conf-mortgage_approval.tar.gz"}
    check_wheel(project, wheel)
    shown = project.run(
        *("uv", "run", "--with", "ipython", "kedro", "ipython"),
        stdin="print(sorted(pipelines))\nexit()\n",
    )
    assert "'data_processing', 'evaluation', 'inference'" in shown.stdout
    port = support.free_port()
    command = ["uv", "run", "--with", "kedro-viz", "kedro", "viz", "run"]
    command += ["--no-browser", "--port", str(port)]
    address = f"http://127.0.0.1:{port}/api/main"
    with support.served(command, address, project.path, project.environment()):
        pass


def check_wheel(project: Project, wheel: str) -> None:
    """Run the packaged project outside its folder, with its packaged configuration."""
    place = project.path.parent / "elsewhere"
    with ZipFile(project.path / "dist" / wheel) as archive:
        archive.extractall(place / "installed")
    shutil.copytree(project.path / "data/01_raw", place / "data/01_raw")
    conf = project.path / "dist" / "conf-mortgage_approval.tar.gz"
    project.run(
        *("python", "-m", "mortgage_approval", "--conf-source", conf),
        cwd=place,
        env={"PYTHONPATH": str(place / "installed")},
    )
    scored = (place / "data/07_model_output/predictions.csv").read_text("utf-8")
    assert scored.startswith("application_id,prediction,probability,model_version")
    with sqlite3.connect(place / "mlflow.db") as database:
        (count,) = database.execute("SELECT COUNT(*) FROM model_versions").fetchone()
    assert count == 1
    wrong = ("kedro", "run", "--conf-source", "README.md")
    refused = project.run(*wrong, check=False).stderr
    assert "README.md is neither a folder nor an archive" in refused
    assert "Traceback" not in refused


# Licences -----------------------------------------------------------------------------
@pytest.mark.parametrize("license", variants.choices()["license"])
def test_the_licence_names_the_holder_and_no_year(
    rendered: Render, license: str
) -> None:
    file = rendered(license=license, author="Acme Analytics") / "LICENSE"
    if license == "none":
        assert not file.exists()
        return
    text = file.read_text()
    assert re.findall(r"(?m)^\s*Copyright (?:\(c\) )?(\S.*)$", text)[-1] == (
        "Acme Analytics"
    )
    assert not re.search(r"\b(19|20)[0-9]{2}\b(?!/)", text.replace("January 2004", ""))
    first = {
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "BSD-3-Clause": "BSD 3-Clause License",
        "proprietary": "Proprietary licence",
    }
    assert text.splitlines()[0].strip() == first[license]
