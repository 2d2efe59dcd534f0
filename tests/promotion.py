"""Commands of `kedro model` in one process: what they import is imported once."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .support import Process, Project

# Reads a line of arguments, runs the project's own commands, answers with a line.
WORKER = """
import contextlib, importlib, io, json, sys, traceback
from pathlib import Path
from kedro.framework.startup import bootstrap_project
package = bootstrap_project(Path.cwd()).package_name
cli = importlib.import_module(package + ".cli").cli
import mlflow
for line in sys.stdin:
    job = json.loads(line)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if "script" in job:
                exec(job["script"], {"arguments": job["arguments"]})
            else:
                cli.main(args=job["arguments"], prog_name="kedro")
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            code = 1
            traceback.print_exc()
    print("DONE", json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
STATE = """
import json, mlflow
name, version = arguments
found = mlflow.MlflowClient().get_model_version(name, version)
folder = mlflow.artifacts.download_artifacts(f"runs:/{found.run_id}/")
print(json.dumps({"tags": found.tags, "folder": folder}))
"""


@dataclass
class Shell:
    """A project, and a process in which its commands run one after the other."""

    project: Project
    process: subprocess.Popen[str]

    def answer(self, **job: Any) -> Process:
        """Have something done, and return its exit code and output."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("DONE "):
                code, out, err = json.loads(line.removeprefix("DONE "))
                return subprocess.CompletedProcess(str(job), code, out, err)
        raise AssertionError(f"The process ended: {job}")

    def model(self, *command: str, fails: bool = False) -> Process:
        """Run a command of `kedro model`, which has to end as it is said."""
        done = self.answer(arguments=["model", *command])
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done

    def ask(self, *command: str) -> Any:
        """Return what a command of `kedro model` answers to a program."""
        return json.loads(self.model(*command, "--json").stdout)

    def script(self, text: str, *arguments: Any) -> str:
        """Run Python in the process; return what it printed."""
        done = self.answer(script=text, arguments=arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, version: str) -> dict[str, Any]:
        """Return the tags and the artifacts' folder of a version."""
        found = self.script(STATE, self.project.package, version)
        return json.loads(found.splitlines()[-1])

    def read(self, version: str, artifact: str) -> str:
        """Return an artifact of a version's run."""
        return Path(self.state(version)["folder"], artifact).read_text("utf-8")

    def aliases(self) -> dict[str, str]:
        """Return the aliases as `kedro model list` shows them."""
        rows = self.ask("list")["versions"]
        return {alias: row["version"] for row in rows for alias in row["aliases"]}

    def edit(self, name: str, **changes: Any) -> None:
        """Change values of a configuration file, by keys joined with `__`."""
        file = self.project.path / "conf" / "base" / name
        content = yaml.safe_load(file.read_text("utf-8"))
        for key, value in changes.items():
            *path, last = key.split("__")
            place = content
            for part in path:
                place = place[part]
            place[last] = value
        file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")

    def prune_all(self) -> None:
        """Prune by rules that keep nothing, without a grace period."""
        name = self.project.package
        run = {"name": name, "keep": {}, "prune": {"all_after_days": 0}}
        kept = {"grace_days": 0, "versions": [{"name": name}], "experiments": [run]}
        self.edit("artifacts.yml", retention=kept)
        for command in ("plan", "apply"):
            done = self.answer(arguments=["prune", command])
            assert done.returncode == 0, done.stderr

    def train(self) -> None:
        """Process the data and train, as a change of columns needs both."""
        for name in ("data_processing", "training"):
            self.project.run("kedro", "run", "--pipelines", name)


@contextmanager
def shell(project: Project) -> Iterator[Shell]:
    """Start the process, and end it with the block."""
    process = subprocess.Popen(
        [project.python, "-c", WORKER],
        cwd=project.path,
        env=project.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Shell(project, process)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=60)
