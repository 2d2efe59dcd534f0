"""Render the template, install what was rendered, run it: the tools of every test."""

import fcntl
import functools
import hashlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import copier

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "build" / "environments"
TEMPLATE = ("copier.yml", "template")
Process = subprocess.CompletedProcess[str]

# What differs between machines, and would change what a test measures.
# PYTHONDONTWRITEBYTECODE doubles every start; several numeric threads on busy cores
# wait for each other.
FORGOTTEN = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_", "AWS_")
# Without a common cache, mypy reads pandas' stubs anew in every project.
CACHES = tempfile.TemporaryDirectory(prefix="caches-")
STEADY = {
    "COLUMNS": "200",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "MYPY_CACHE_DIR": str(Path(CACHES.name, "mypy")),
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}


def environment(**extra: str) -> dict[str, str]:
    """Return the environment variables of a subprocess, the same on every machine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FORGOTTEN)}
    own = Path(sys.executable).parent
    path = join_path(own, os.environ["PATH"])
    return {**kept, **STEADY, **every_pyenv_version(), "PATH": path, **extra}


@functools.cache
def every_pyenv_version() -> dict[str, str]:
    """Return a setting that activates all Pythons of pyenv; by default one is active.

    Without it, pyenv's `python3.13` is on PATH, and fails.
    """
    if not shutil.which("pyenv"):
        return {}
    names = subprocess.check_output(["pyenv", "versions", "--bare"], text=True).split()
    active = subprocess.check_output(["pyenv", "version-name"], text=True).split(":")
    first = [name.strip() for name in active]
    return {"PYENV_VERSION": ":".join(dict.fromkeys([*first, *names]))}


def join_path(*folders: Path | str) -> str:
    """Return a value for PATH."""
    return os.pathsep.join(map(str, folders))


def run(
    *command: str | Path,
    cwd: Path,
    check: bool = True,
    env: dict[str, str] | None = None,
    timeout: float = 300,
    stdin: str | None = None,
) -> Process:
    """Run a command and return it with its text output; a failure shows that output."""
    env = env or environment()
    program = shutil.which(command[0], path=env["PATH"])
    assert program, f"{command[0]} is not installed."
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=cwd,
        env=env,
        timeout=timeout,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        line = " ".join(map(str, command))
        raise AssertionError(
            f"`{line}` ended with {done.returncode} in {cwd}:\n"
            f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        )
    return done


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    return tomllib.loads(file.read_text("utf-8"))


def git(*arguments: str, cwd: Path) -> str:
    """Run git as a fixed author and return what it printed."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return run("git", *identity, *arguments, cwd=cwd).stdout


def commit_all(folder: Path, message: str, *options: str) -> None:
    """Start a repository if there is none, and commit everything that is there.

    Options are those of `git add`: `--force` takes ignored files, too.
    """
    if not (folder / ".git").exists():
        git("init", "--quiet", "--initial-branch", "main", cwd=folder)
    git("add", "--all", *options, cwd=folder)
    git("commit", "--quiet", "--allow-empty", "--message", message, cwd=folder)


def copy_listed(destination: Path, *names: str) -> None:
    """Copy these files and folders of the working tree, as git would commit them.

    These are neither ignored nor deleted ones.
    """
    listed = git(
        *("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"),
        *names,
        cwd=ROOT,
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)


def snapshot_template(destination: Path, version: str = "v0.1.0") -> Path:
    """Copy the working tree's template to a repository of its own, committed, tagged.

    A dirty tree rendered in place would store a commit from which no update works.
    """
    copy_listed(destination, *TEMPLATE)
    tag_template(destination, version)
    return destination


def tag_template(folder: Path, version: str) -> None:
    """Commit the files of a template's repository, ignored ones too, and tag it."""
    commit_all(folder, version, "--force")
    git("tag", version, cwd=folder)


def render_template(
    template: Path, destination: Path, vcs_ref: str | None = None, **answers: Any
) -> Path:
    """Render a version of the template as `copier copy --defaults` does, no trust."""
    copier.run_copy(
        str(template),
        destination,
        data=answers,
        vcs_ref=vcs_ref,
        defaults=True,
        quiet=True,
        unsafe=False,
    )
    return destination


def update_project(
    project: Path,
    vcs_ref: str | None = None,
    unsafe: bool = False,
    skip_answered: bool = False,
    **answers: Any,
) -> None:
    """Update a committed project as `copier update --defaults` does.

    ``skip_answered`` adds `--skip-answered`, as updates by schedule and over many have.

    Raises:
        UnsafeTemplateError: if the update asks for trust, unless it is ``unsafe``.
    """
    copier.run_update(
        project,
        data=answers,
        vcs_ref=vcs_ref,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=unsafe,
        skip_answered=skip_answered,
    )


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version (`3.12`, `>=3.11`), None if none."""
    found = run(
        *("uv", "python", "find", "--no-project", version),
        cwd=ROOT,
        check=False,
    )
    return found.stdout.strip() or None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    It lies below those that systems hand out to clients, which could get it before the
    server that it is meant for.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextmanager
def served(
    command: list[str], url: str, cwd: Path, env: dict[str, str], timeout: float = 120
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; enter the block once ``url`` answers."""
    log = cwd / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + timeout
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(
                    f"No answer from {url}:\n{log.read_text()[-8000:]}"
                )
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        log.unlink()


def answers(url: str) -> bool:
    """Tell whether something answers a GET of this address with success."""
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def link_tree(source: Path, destination: Path) -> None:
    """Copy a folder by hard links, or by content where the file system has none."""
    try:
        shutil.copytree(source, destination, symlinks=True, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(source, destination, symlinks=True)


def dependency_set(project: Path, python: str) -> str:
    """Return a short name of what a project needs installed, and on which Python."""
    declared = read_toml(project / "pyproject.toml")
    wanted = [
        declared["project"]["requires-python"],
        sorted(declared["project"]["dependencies"]),
        declared.get("dependency-groups"),
        (project / "constraints.txt").read_text("utf-8"),
        python,
    ]
    return hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]


def lock(project: Path) -> None:
    """Make the lock file of what was tested, as the message after copy says."""
    constraints = ("--constraints", "constraints.txt")
    run("uv", "add", "--no-sync", *constraints, "kedro-mlflow", cwd=project)


def base_environment(project: Path, python: str) -> Path:
    """Return an environment with a project's dependencies, but not the project.

    It is made once for each dependency set, byte-compiled, and relocatable: a project's
    own environment is a copy of it by hard links.
    """
    base = ENVIRONMENTS / dependency_set(project, python)
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with base.with_name(f".{base.name}.lock").open("w") as turn:
        # The other half of the tests waits, rather than making the same.
        fcntl.flock(turn, fcntl.LOCK_EX)
        if base.exists():
            return base
        making = base.with_name(f".{base.name}")
        shutil.rmtree(making, ignore_errors=True)  # of a session that was ended
        run("uv", "venv", "--relocatable", "--python", python, making, cwd=project)
        run(
            *("uv", "sync", "--no-install-project", "--compile-bytecode"),
            cwd=project,
            env=environment(UV_PROJECT_ENVIRONMENT=str(making)),
            timeout=900,
        )
        making.rename(base)
    return base


@dataclass
class Project:
    """A rendered project with its own environment, in which commands run."""

    path: Path
    package: str
    bare_python: Path
    """An interpreter with the project's dependencies, but not the project."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables that every command of this project gets."""
    first_run: Process | None = None
    """`kedro run`, as it ended when the project was made."""

    @property
    def python(self) -> Path:
        """The interpreter of the project's environment."""
        return self.path / ".venv" / "bin" / "python"

    def environment(self, **extra: str) -> dict[str, str]:
        """Return environment variables with the project's programs first on PATH."""
        path = join_path(self.python.parent, environment()["PATH"])
        return environment(**{"PATH": path, **self.env, **extra})

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        env: dict[str, str] | None = None,
        timeout: float = 300,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> Process:
        """Run a command in the project's folder, by its own environment's programs."""
        return run(
            *command,
            cwd=cwd or self.path,
            check=check,
            env=self.environment(**(env or {})),
            timeout=timeout,
            stdin=stdin,
        )

    def start(self, *command: str, **extra: str) -> subprocess.Popen[str]:
        """Start a command without waiting for its end."""
        program = shutil.which(command[0], path=self.environment()["PATH"])
        assert program, f"{command[0]} is not installed."
        return subprocess.Popen(
            [program, *command[1:]],
            cwd=self.path,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Where the tests run in the background, interrupts are ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @contextmanager
    def serve(self, port: int | None = None, *arguments: str) -> Iterator[str]:
        """Run `kedro model serve` and give the address at which it answers."""
        port = port or free_port()
        url = f"http://127.0.0.1:{port}"
        program = str(self.python.parent / "kedro")
        command = [program, "model", "serve", "--port", str(port), *arguments]
        with served(command, f"{url}/ping", self.path, self.environment()):
            yield url

    def ask(self, script: str, *arguments: str, bare: bool = False) -> str:
        """Run a Python script connected to the project's stores; return its output.

        A bare one runs outside the project's folder, by an interpreter that can't
        import the project.
        """
        connected = {"MLFLOW_TRACKING_URI": self.store, **self.env}
        return run(
            *(self.bare_python if bare else self.python, "-c", script, *arguments),
            cwd=self.path.parent if bare else self.path,
            env=self.environment(**connected),
        ).stdout

    @property
    def store(self) -> str:
        """The address of the local tracking store."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    def copy(self, destination: Path) -> "Project":
        """Return a private copy, with its own environment and stores."""
        ignore = shutil.ignore_patterns(".venv")
        folder = destination / self.path.name
        shutil.copytree(self.path, folder, symlinks=True, ignore=ignore)
        move_stores(folder, str(self.path), str(folder))
        env = {
            name: value.replace(str(self.path), str(folder))
            for name, value in self.env.items()
        }
        return install(folder, self.bare_python, env)


def install(
    folder: Path, bare_python: Path, env: dict[str, str] | None = None
) -> Project:
    """Give a rendered folder an environment, as `uv sync` does."""
    package = read_toml(folder / "pyproject.toml")["tool"]["kedro"]["package_name"]
    link_tree(bare_python.parents[1], folder / ".venv")
    run("uv", "sync", "--quiet", cwd=folder, timeout=600)
    return Project(folder, package, bare_python, env or {})


def install_locked(folder: Path, version: str = ">=3.11,<3.14") -> Project:
    """Lock a rendered folder under its constraints, and give it an environment."""
    python = interpreter(version)
    assert python, f"Python {version} is not installed, so this can't be tested."
    lock(folder)
    return install(folder, base_environment(folder, python) / "bin" / "python")


def move_stores(folder: Path, old: str, new: str) -> None:
    """Make the absolute addresses in a copied database and its files point to it."""
    for file in folder.glob("mlflow.db"):
        with sqlite3.connect(file) as database:
            tables = database.execute(
                "SELECT name FROM sqlite_master WHERE type='table'"
            )
            for (table,) in tables.fetchall():
                for column in database.execute(
                    f"PRAGMA table_info('{table}')"
                ).fetchall():
                    database.execute(
                        f'UPDATE "{table}" SET "{column[1]}" = '
                        f'replace("{column[1]}", ?, ?) WHERE "{column[1]}" LIKE ?',
                        (old, new, f"%{old}%"),
                    )
    for name in ("MLmodel", "meta.yaml"):
        for file in folder.glob(f"mlartifacts/**/{name}"):
            file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
